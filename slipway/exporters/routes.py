"""Several ways to convert one model, tried in order, with the source's own answers as the judge.

A converter that returns without an error may still be wrong. So each result is run on the golden
inputs, at all their batch sizes, before it is taken.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import CheckFailed, ExportFailed, SlipwayError, UnsupportedOperator
from slipway.exporters.cleaning import EXTERNAL_DATA_BYTES
from slipway.providers.sessions import Session
from slipway.reports import Finding
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet

# Wide, since this only tells a right route from a wrong one; parity judges by the spec's tolerance.
_RTOL: Final = 1e-3
_ATOL: Final = 1e-4


@dataclass(frozen=True)
class Route:
    """A way to convert: its name in the report, and what does it (raising ExportFailed)."""

    name: str
    convert: Callable[[], onnx.ModelProto]


@dataclass(frozen=True)
class Chosen:
    """The route that was taken, its model on disk, and what is to be said about it."""

    name: str
    model: Path
    findings: tuple[Finding, ...] = ()


def choose_route(routes: Sequence[Route], golden: GoldenSet, path: Path) -> Chosen:
    """Take the first route whose model repeats the golden set; it is written to `path`.

    Where none does and some run, the nearest is taken with a finding: parity then refuses it with
    the differences told, unless the spec's own tolerance allows them.

    Raises:
        ExportFailed: when no route gives a model that runs, with each one's reason.
    """
    failures: dict[str, list[str]] = {}
    errors: list[SlipwayError] = []
    nearest: tuple[float, Route, onnx.ModelProto] | None = None
    for route in routes:
        try:
            model = route.convert()
            _save(model, path)
            error = _worst_error(path, golden)
        except (ExportFailed, CheckFailed) as failure:
            failures.setdefault(str(failure), []).append(route.name)
            errors.append(failure)
            continue
        if error <= 1:
            return Chosen(route.name, path)
        if nearest is None or error < nearest[0]:
            nearest = (error, route, model)
    if nearest is None:
        path.unlink(missing_ok=True)
        reasons = [f"{' and '.join(names)}: {reason}" for reason, names in failures.items()]
        raise refusal("; ".join(reasons), errors)
    error, route, model = nearest
    _save(model, path)
    message = (
        "every route that converts the model gives other outputs than the model itself; "
        f"{route.name} is nearest, {error:.3g} times beyond rtol {_RTOL:g} and atol {_ATOL:g}"
    )
    finding = Finding(level="warning", code="routes-disagree", message=message)
    return Chosen(route.name, path, (finding,))


def refusal(message: str, failures: Sequence[SlipwayError]) -> ExportFailed:
    """One error for those of every route: of their class and with their facts, where they agree."""
    alike = all(isinstance(failure, UnsupportedOperator) for failure in failures)
    facts = next((failure.facts for failure in failures if failure.facts), None)
    return (UnsupportedOperator if alike else ExportFailed)(message, facts=facts)


def _save(model: onnx.ModelProto, path: Path) -> None:
    size = model.ByteSize()
    if size > EXTERNAL_DATA_BYTES:
        data = f"{path.name}.data"
        path.with_name(data).unlink(missing_ok=True)
        onnx.save(_copy(model), path, save_as_external_data=True, location=data)
        return
    onnx.save(model, path)


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy for `onnx.save`, which moves the weights of what it is given out of the model."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def _worst_error(path: Path, golden: GoldenSet) -> float:
    """The largest error over all cases and outputs, in units of what is allowed; inf for NaN."""
    session = Session(path, optimization="basic")
    worst = 0.0
    for case in golden.cases:
        feeds = {
            tensor.name: case.inputs[tensor.name].astype(
                object if tensor.dtype == "string" else tensor.dtype
            )
            for tensor in session.inputs
        }
        answers = session.run(feeds)
        for name, reference in case.outputs.items():
            worst = max(worst, _error(name, answers[name], reference))
    return worst


def _error(name: str, answer: Array, reference: Array) -> float:
    if answer.shape != reference.shape:
        fact = (
            f"output {name} has shape {list(answer.shape)}, the model gives {list(reference.shape)}"
        )
        if answer.ndim != reference.ndim:
            raise CheckFailed(fact, facts={"output": name})
        raise CheckFailed(
            f"{fact}: the converter froze a size; give that dimension as a number in the spec's "
            "inputs",
            facts={"kind": "frozen-dimension", "output": name},
        )
    if reference.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(answer.astype(str), reference.astype(str)) else np.inf
    got, expected = answer.astype(np.float64), reference.astype(np.float64)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        errors = np.abs(got - expected) / (_ATOL + _RTOL * np.abs(expected))
    errors = np.where(same, 0.0, np.where(np.isfinite(errors), errors, np.inf))
    return float(errors.max(initial=0.0))
