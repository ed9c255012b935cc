"""How far arrays are from the arrays that they should equal: the arithmetic of parity.

A `Difference` is what one output of one case comes to; `merge` adds cases up, so that no case has
to be kept. Whether a difference is acceptable is decided in `parity`.
"""

import math
from dataclasses import dataclass, replace
from functools import reduce
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.samples.arrays import Array
from slipway.specs import Tolerance

Floats = npt.NDArray[np.float64]

_ROUNDING: Final = 1 + 4 * np.finfo(np.float64).eps
"""Lifts the smallest tolerance over the rounding of its own formula."""


@dataclass(frozen=True)
class Worst:
    """The element that exceeds its tolerance most, or is nearest to doing so.

    `excess` is |actual - expected| - (atol + rtol |expected|): positive where the element fails.
    """

    excess: float
    case: int
    index: tuple[int, ...]
    expected: float | str
    actual: float | str


@dataclass(frozen=True)
class Difference:
    """What an output's comparison comes to, as sums and maxima that can be merged.

    `fault` says why values could not be compared at all (shape, kind, NaN); the numbers are then
    those of what could be. Labels (whole numbers, strings, booleans) are compared exactly:
    `label_rows` counts their entries; for class scores it counts rows, compared by their largest.
    """

    count: int = 0
    max_abs: float = 0.0
    max_rel: float = 0.0
    smallest_t: float = 0.0
    worst: Worst | None = None
    dot: float = 0.0
    expected_squares: float = 0.0
    actual_squares: float = 0.0
    error_squares: float = 0.0
    labels: bool = False
    label_rows: int = 0
    label_hits: int = 0
    fault: str | None = None

    @property
    def cosine(self) -> float | None:
        """Cosine similarity of everything compared, flattened; 1 between zeros."""
        norms = math.sqrt(self.expected_squares) * math.sqrt(self.actual_squares)
        if norms == 0:
            return 1.0 if self.expected_squares == self.actual_squares else 0.0
        return min(1.0, max(-1.0, self.dot / norms)) if math.isfinite(norms) else None

    @property
    def relative_l2(self) -> float | None:
        """|actual - expected| / |expected|; None where the source is all zero and this is not."""
        if self.error_squares == 0:
            return 0.0
        if self.expected_squares == 0:
            return None
        return _finite(math.sqrt(self.error_squares / self.expected_squares))

    @property
    def label_agreement(self) -> float | None:
        """Share of labels that agree, where there are labels or class scores."""
        return self.label_hits / self.label_rows if self.label_rows else None


def merge(first: Difference, second: Difference) -> Difference:
    """Both together; associative, with `Difference()` as its neutral element."""
    worsts = [side.worst for side in (first, second) if side.worst is not None]
    return Difference(
        count=first.count + second.count,
        max_abs=max(first.max_abs, second.max_abs),
        max_rel=max(first.max_rel, second.max_rel),
        smallest_t=max(first.smallest_t, second.smallest_t),
        worst=max(worsts, key=lambda worst: worst.excess, default=None),
        dot=first.dot + second.dot,
        expected_squares=first.expected_squares + second.expected_squares,
        actual_squares=first.actual_squares + second.actual_squares,
        error_squares=first.error_squares + second.error_squares,
        labels=first.labels or second.labels,
        label_rows=first.label_rows + second.label_rows,
        label_hits=first.label_hits + second.label_hits,
        fault=first.fault or second.fault,
    )


def merge_all(differences: list[Difference]) -> Difference:
    """All cases of one output together."""
    return reduce(merge, differences, Difference())


def measure(expected: Array, actual: Array, *, tolerance: Tolerance, case: int = 0) -> Difference:
    """Compare one output of one case; computed in float64 whatever the arrays' types.

    NaN agrees with NaN and an infinity with the same infinity; anything else against a value that
    is not finite is a fault.
    """
    fault = _misfit(expected, actual)
    if fault is not None:
        return Difference(fault=fault)
    if _is_float(expected) and _is_float(actual):
        return _measure_floats(_as_float64(expected), _as_float64(actual), tolerance, case)
    return _measure_labels(expected, actual, case)


def _misfit(expected: Array, actual: Array) -> str | None:
    if expected.shape != actual.shape:
        return f"its shape is {list(actual.shape)}, the source gave {list(expected.shape)}"
    if _kind(expected) != _kind(actual):
        return f"it is {_name(actual)}, the source gave {_name(expected)}"
    return None


def _kind(array: Array) -> str:
    if array.dtype.kind in "USO":
        return "string"
    return "bool" if array.dtype.kind == "b" else "number"


def _name(array: Array) -> str:
    return "string" if _kind(array) == "string" else str(array.dtype)


def _is_float(array: Array) -> bool:
    # bfloat16 and float8 come from ml_dtypes, where numpy sees plain bytes (kind V).
    return array.dtype.kind in "fV"


def _as_float64(array: Array) -> Floats:
    return array.astype(np.float64)


def _measure_floats(
    expected: Floats, actual: Floats, tolerance: Tolerance, case: int
) -> Difference:
    comparable = np.isfinite(expected) & np.isfinite(actual)
    fault = None
    if not comparable.all():
        fault = _non_finite_fault(expected, actual)
        expected, actual = np.where(comparable, expected, 0), np.where(comparable, actual, 0)
    if not expected.size:
        return Difference(fault=fault)
    with np.errstate(all="ignore"):  # what overflows is told as None
        error = np.abs(actual - expected)
        size = np.abs(expected)
        excess = error - (tolerance.atol + tolerance.rtol * size)
        relative = np.divide(error, size, out=np.zeros_like(error), where=size > 0)
        flat = int(np.argmax(excess))
        index = tuple(int(i) for i in np.unravel_index(flat, expected.shape))
        found = Difference(
            count=int(comparable.sum()),
            max_abs=float(error.max()),
            max_rel=float(relative.max()),
            smallest_t=float((error / (size + 0.1)).max()) * _ROUNDING,
            worst=Worst(
                float(excess[index]), case, index, float(expected[index]), float(actual[index])
            ),
            dot=_squares(expected, actual),
            expected_squares=_squares(expected, expected),
            actual_squares=_squares(actual, actual),
            error_squares=_squares(error, error),
            fault=fault,
        )
    return _with_class_scores(found, expected, actual)


def _squares(left: Floats, right: Floats) -> float:
    return float(np.dot(left.ravel(), right.ravel()))


def _with_class_scores(found: Difference, expected: Floats, actual: Floats) -> Difference:
    """Add how many rows have the same largest score, where the output can be class scores."""
    if expected.ndim != 2 or expected.shape[1] < 2:  # noqa: PLR2004 - rows of class scores
        return found
    hits = int((expected.argmax(axis=1) == actual.argmax(axis=1)).sum())
    return replace(found, label_rows=len(expected), label_hits=hits)


def _non_finite_fault(expected: Floats, actual: Floats) -> str | None:
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    both = np.isfinite(expected) & np.isfinite(actual)
    wrong = ~(same | both)
    if not wrong.any():
        return None
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{int(wrong.sum())} values are not finite where the source differs, the first at "
        f"{list(index)}: {actual[index]}, the source gave {expected[index]}"
    )


def _measure_labels(expected: Array, actual: Array, case: int) -> Difference:
    if not expected.size:
        return Difference(labels=True)
    agree = np.asarray(expected == actual)
    flat = int(np.argmin(agree))
    index = tuple(int(i) for i in np.unravel_index(flat, agree.shape))
    if _kind(expected) == "number":
        largest = float(np.abs(_as_float64(actual) - _as_float64(expected)).max())
    else:
        largest = 0.0 if agree.all() else 1.0
    return Difference(
        count=int(agree.size),
        max_abs=largest,
        worst=Worst(
            0.0 if agree[index] else 1.0,
            case,
            index,
            _plain(expected[index]),
            _plain(actual[index]),
        ),
        labels=True,
        label_rows=int(agree.size),
        label_hits=int(agree.sum()),
    )


def _plain(value: object) -> float | str:
    return float(value) if isinstance(value, int | float | np.number | np.bool_) else str(value)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
