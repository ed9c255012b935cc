"""Calibration data before it is used: which samples, whether they are fit, and what is odd in them.

Ranges are no better than the data that they come from: what is wrong is refused, what is doubtful
is said.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import DataError
from slipway.providers.signature import model_inputs
from slipway.reports import Finding
from slipway.samples.arrays import Array, Samples, check_finite, take_rows
from slipway.samples.fitting import check_fit

# With fewer samples, a range is found by chance.
FEW: Final = 32
# Inputs that reach so many times as far as those of the evaluation were scaled in another way.
ANOTHER_SCALE: Final = 8.0
# A share of the evaluation's values outside the calibration's extremes that is no accident.
OUTSIDE: Final = 0.01


def choose_samples(
    model: onnx.ModelProto,
    samples: Samples,
    *,
    count: int,
    work: Path,
    what: str = "calibration data",
) -> Samples:
    """At most `count` of the samples, evenly spaced, so that sorted data is still covered.

    Where there are more, those chosen are written to `work` and read from there piece by piece.

    Raises:
        DataError: when an input has no array or one of another shape or type, when there are no
            samples, or when some are not finite.
    """
    inputs = model_inputs(model)
    try:
        chosen = samples.select([tensor.name for tensor in inputs])
        check_fit(inputs, chosen)
    except DataError as error:
        raise DataError(f"{what}: {error}") from error
    if not len(chosen):
        raise DataError(f"the {what} holds no samples; give it at least one")
    check_finite(chosen, what=what)
    if len(chosen) <= count:
        return chosen
    return take_rows(chosen, np.linspace(0, len(chosen) - 1, count).round().astype(int), work)


def audit_data(samples: Samples, evaluation: Samples | None = None) -> tuple[Finding, ...]:
    """What is doubtful in calibration data: few samples, constant inputs, other values than later.

    Raises:
        DataError: when inputs are scaled in another way than those of the evaluation.
    """
    findings = [
        _warning(code, f"calibration data: {said}", name)
        for name, array in samples.arrays.items()
        if array.size and array.dtype.kind in "fiu"
        for code, said in _oddities(name, array, evaluation)
    ]
    samples.release()
    if len(samples) < FEW:
        said = f"calibration data holds {len(samples)} samples; ranges from fewer than {FEW} are "
        findings.append(_warning("calibration-few", said + "found by chance", None))
    return tuple(findings)


def _oddities(name: str, array: Array, evaluation: Samples | None) -> Iterator[tuple[str, str]]:
    if all(bool((row == array.flat[0]).all()) for row in array):
        told = f"{name} is {array.flat[0]} in all samples"
        yield "calibration-constant", f"{told}; ranges found from it will not fit other data"
        return
    other = evaluation.arrays.get(name) if evaluation is not None else None
    if other is None or not other.size or other.dtype.kind not in "fiu":
        return
    (low, high), (left, right) = _extremes(array), _extremes(other)
    ours, theirs = max(abs(low), abs(high)), max(abs(left), abs(right))
    if array.dtype.kind == "f" and max(ours, theirs) > ANOTHER_SCALE * min(ours, theirs):
        raise DataError(
            f"calibration data: {name} lies in [{low:g}, {high:g}], in the evaluation data in "
            f"[{left:g}, {right:g}]; prepare both in the same way"
        )
    outside = np.mean([((row < low) | (row > high)).mean() for row in other])
    if outside > OUTSIDE:
        told = f"{name} lies in [{low:g}, {high:g}]"
        yield "calibration-narrow", f"{told}; {outside:.0%} of the evaluation data lies outside"


def _extremes(array: Array) -> tuple[float, float]:
    """Of all rows, one by one: the array may be a file's."""
    rows = [(row.min(), row.max()) for row in array]
    return float(min(low for low, _ in rows)), float(max(high for _, high in rows))


def _warning(code: str, message: str, place: str | None) -> Finding:
    return Finding(level="warning", code=code, message=message, place=place)
