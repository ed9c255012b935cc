"""The first node that goes wrong, told in a sentence, with the kind of fault that it shows.

Without a trace of the source, the graph's own values in float64 are what it is held against: that
tells what float32 loses, and what onnxruntime computes otherwise than ONNX says.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx

from slipway.reports import Diagnosis, Divergence
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.comparing import Difference, measure
from slipway.validation.diagnosis.departures import (
    Departure,
    differ,
    first_departure,
    wrong_outputs,
)
from slipway.validation.diagnosis.stepping import (
    float64_values,
    open_graph,
    run_alone,
    runtime_values,
)

_SHARE: Final = 0.1
"""A departure explains a failure when it is at least this part of it."""
_ROUNDING: Final = 1e-5
"""An rtol that float32 arithmetic may need in a graph of some depth, whoever runs it."""


@dataclass(frozen=True)
class Opened:
    """A model that failed on one case, and every value that onnxruntime computes for it."""

    graph: onnx.ModelProto
    index: int
    case: GoldenCase
    values: Mapping[str, Array]
    wrong: tuple[str, ...]
    tolerance: Tolerance

    def departure(self, expected: Mapping[str, Array]) -> Departure | None:
        """Where these values first depart from those expected."""
        return first_departure(
            self.graph.graph,
            expected,
            self.values,
            wrong=self.wrong,
            tolerance=self.tolerance,
        )


def open_failure(
    model: Path,
    golden: GoldenSet,
    tolerance: Tolerance,
    scratch: Path,
    *,
    case: int | None = None,
) -> Opened | None:
    """The smallest case that runs and is wrong, or the one given; None where there is none.

    A model that is right with onnxruntime's optimizations off has none either.
    """
    graph = open_graph(model)
    if graph is None:
        return None
    for index in _by_size(golden) if case is None else (case,):
        values = runtime_values(graph, golden.cases[index].inputs, scratch)
        if values is None:
            continue
        wrong = wrong_outputs(golden.cases[index].outputs, values, tolerance)
        if wrong:
            return Opened(graph, index, golden.cases[index], values, tuple(wrong), tolerance)
    return None


def _by_size(golden: GoldenSet) -> list[int]:
    sizes = [sum(array.nbytes for array in case.inputs.values()) for case in golden.cases]
    return sorted(range(len(sizes)), key=sizes.__getitem__)


def find_float32_departure(opened: Opened) -> tuple[Divergence, Diagnosis] | None:
    """The first node where float32 in onnxruntime departs from float64, and what that shows.

    None where the graph gives the same in float64: then it is wrong as it was converted.
    """
    wide = float64_values(opened.graph, opened.case.inputs, opened.values)
    found = opened.departure(wide)
    if found is None or not _explains(opened, wide):
        return None
    told = describe(opened, found, against="float64")
    if (needed := _tolerance_needed(opened)) <= _ROUNDING:
        return told, _fine_tolerance(opened.tolerance, needed)
    alone = run_alone(found.node, opened.graph, opened.values)
    kind = _kind(found, alone, wide, opened.tolerance)
    agrees = not wrong_outputs(
        {name: opened.case.outputs[name] for name in opened.wrong}, wide, opened.tolerance
    )
    return told, Diagnosis(
        kind=kind,
        sentence=_SENTENCES[kind].format(
            node=found.node.name or found.tensor, operator=found.node.op_type
        )
        + (", and in float64 the graph agrees with the source" if agrees else "")
        + _WAYS_OUT[kind],
        evidence={
            "node": found.node.name or found.tensor,
            "operator": found.node.op_type,
            "agrees in float64": "yes" if agrees else "no",
        },
    )


def _tolerance_needed(opened: Opened) -> float:
    """The smallest rtol, with a tenth of it as atol, that the wrong outputs would pass."""
    found = [
        measure(opened.case.outputs[name], opened.values[name], tolerance=opened.tolerance)
        for name in opened.wrong
        if name in opened.values
    ]
    sound = all(f.fault is None and not f.labels for f in found)
    return max((f.smallest_t for f in found), default=math.inf) if sound else math.inf


def _fine_tolerance(tolerance: Tolerance, needed: float) -> Diagnosis:
    return Diagnosis(
        kind="tolerance",
        sentence=f"rtol {tolerance.rtol:g} and atol {tolerance.atol:g} are finer than float32 "
        f"arithmetic: the outputs differ as float32 and float64 do, by rounding; set parity.fp32 "
        f"to at least rtol {needed:.1g} and atol {needed / 10:.1g}",
        evidence={"needed rtol": needed, "needed atol": needed / 10},
    )


Kind = Literal["float32-cliff", "runtime"]
_SENTENCES: Final[dict[Kind, str]] = {
    "float32-cliff": "float32 is too coarse for this graph: from node {node} ({operator}) on, it "
    "gives other values than in float64",
    "runtime": "onnxruntime computes node {node} ({operator}) otherwise than ONNX says",
}
_WAYS_OUT: Final[dict[Kind, str]] = {
    "float32-cliff": "; subtract offsets and scale inputs before the model, or compute that part "
    "in float64",
    "runtime": "; replace that operator in the model, or keep the values that it treats otherwise "
    "(NaN, infinities, ties) out of its inputs",
}


def _kind(
    found: Departure,
    alone: Mapping[str, Array] | None,
    wide: Mapping[str, Array],
    tolerance: Tolerance,
) -> Kind:
    """Rounding, unless ONNX's own operator gets it right in float32, on the same inputs."""
    if alone is None or found.tensor not in alone:
        return "float32-cliff"
    right = differ(wide[found.tensor], alone[found.tensor], tolerance) is None
    return "runtime" if right else "float32-cliff"


def _explains(opened: Opened, wide: Mapping[str, Array]) -> bool:
    """Whether float64 moves a wrong output by a good part of its error."""
    for name in opened.wrong:
        if name not in wide or name not in opened.values:
            continue
        here = differ(wide[name], opened.values[name], opened.tolerance)
        there = differ(opened.case.outputs[name], opened.values[name], opened.tolerance)
        if here is None or there is None:
            continue
        if here.fault or there.fault or here.max_abs >= _SHARE * there.max_abs:
            return True
    return False


def describe(
    opened: Opened,
    found: Departure,
    *,
    against: Literal["source", "float64"],
    source_place: str | None = None,
) -> Divergence:
    """A departure as a report."""
    worst = found.difference.worst
    nodes = len(opened.graph.graph.node)
    other = "the source" if against == "source" else "float64"
    where = f" ({source_place})" if source_place else ""
    return Divergence(
        against=against,
        node=found.node.name or found.tensor,
        operator=found.node.op_type,
        tensor=found.tensor,
        position=found.position,
        nodes=nodes,
        agreeing=found.agreeing,
        case=opened.index,
        index=worst.index if worst else (),
        expected=_shown(worst.expected) if worst else None,
        actual=_shown(worst.actual) if worst else None,
        max_abs_error=_finite(found.difference),
        relative_l2=found.difference.relative_l2 if not found.difference.fault else None,
        source_place=source_place,
        sentence=f"the first value to depart from {other} is {found.tensor}, made by node "
        f"{found.node.name or found.tensor} ({found.node.op_type}, {found.position + 1} of {nodes})"
        f"{where}: {_error(found.difference, other)}; {_before(found.agreeing)}",
    )


def _error(found: Difference, other: str) -> str:
    if found.fault is not None:
        return found.fault.replace("the source gave", f"{other} gives")
    worst = found.worst
    if worst is None:
        return "no values were compared"
    actual, expected = _text(worst.actual), _text(worst.expected)
    return f"{actual} where {other} gives {expected}, at {list(worst.index)}"


def _before(agreeing: int) -> str:
    if not agreeing:
        return "nothing before it was compared"
    return f"{agreeing} value{'s' if agreeing > 1 else ''} before it agree"


def _finite(found: Difference) -> float | None:
    sound = found.fault is None and math.isfinite(found.max_abs)
    return found.max_abs if sound else None


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.8g}"


def _shown(value: float | str) -> float | str | None:
    return value if isinstance(value, str) or math.isfinite(value) else None
