"""Which units have to stay float32, and why: every rule but that of cost is here."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import onnx
from onnx import numpy_helper

from slipway.precisions import graphs
from slipway.precisions.half.constants import LARGEST, SMALLEST_NORMAL, objection
from slipway.precisions.half.elements import Types
from slipway.precisions.half.integers import integer_units
from slipway.precisions.half.operators import words
from slipway.precisions.half.ranges import Extent
from slipway.precisions.half.values import HALF_UNIT, HalfValue, Units
from slipway.reports import Finding

Code = Literal[
    "no-type",
    "no-kernel",
    "constant",
    "integers",
    "range",
    "unmeasured",
    "deep-reduction",
    "overflow",
]

EXPLANATIONS: Final[Mapping[Code, str]] = {
    "no-type": "their operators take float32 only",
    "no-kernel": "GPUs have no float16 kernel for them",
    "constant": "float16 cannot hold their constants",
    "integers": "they compute with whole numbers, which float16 counts to 2048 only",
    "range": "their values leave float16's safe range on the calibration data",
    "unmeasured": "their values may leave float16's range, and no data measured them",
    "deep-reduction": "their sums may leave float16's range on the way",
    "overflow": "they overflowed in true half arithmetic",
}

DEEP: Final = 1024
"""Without data, sums over more elements than this stay float32."""

_REDUCTIONS: Final = frozenset(
    {"ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum", "CumSum"}
)
_GROWING: Final = frozenset(
    {"Pow", "Exp", "ReduceSumSquare", "ReduceL2", "ReduceLogSumExp", "ReduceProd"}
)
# What a large number may pass through, and what ends it.
_CARRYING: Final = words(
    """
    Abs Add Concat Expand Flatten Gather Identity Max Min Mul Neg Pad ReduceMax ReduceMean ReduceMin
    ReduceSum Reshape Slice Split Squeeze Sub Sum Transpose Unsqueeze Where
    """
)
_ENDING: Final = frozenset(
    {"Clip", "Div", "Erf", "Log", "Reciprocal", "Sigmoid", "Softmax", "Sqrt", "Tanh"}
)
_SINGULAR: Final = frozenset({"Sqrt", "Reciprocal", "Log", "Div", "Pow"})


@dataclass(frozen=True)
class Reason:
    """Why one unit stays float32."""

    code: Code
    detail: str = ""


def find_reasons(
    model: onnx.ModelProto,
    units: Units,
    types: Types,
    *,
    extents: Mapping[str, Extent],
    largest_activation: float,
    folder: Path,
) -> dict[int, Reason]:
    """The units that stay float32 whatever it costs, the first reason of each."""
    reasons: dict[int, Reason] = {}
    for unit in range(HALF_UNIT + 1, len(units.nodes)):
        if unit not in units.kernels:
            reasons[unit] = Reason("no-kernel")
    rules = (
        _of_constants(units, extents, folder),
        ((unit, Reason("integers")) for unit in integer_units(model, units, types)),
        _of_ranges(units, extents, largest_activation),
        _of_nodes(model, units, types, extents),
    )
    for rule in rules:
        for unit, reason in rule:
            if unit > HALF_UNIT:
                reasons.setdefault(unit, reason)
    return reasons


def describe(reasons: Mapping[int, Reason], units: Units) -> tuple[Finding, ...]:
    """One finding for each kind of reason, naming every node that it keeps."""
    kept: dict[Code, dict[str, str]] = defaultdict(dict)
    for fixed in units.fixed:
        kept["no-type"][fixed.name] = f"{fixed.name} ({fixed.op_type})"
    for unit, reason in reasons.items():
        node = units.nodes[unit]
        if node is not None:
            detail = f": {reason.detail}" if reason.detail else ""
            kept[reason.code].setdefault(node.name, f"{node.name} ({node.op_type}{detail})")
    return tuple(
        Finding(
            level="warning",
            code=f"fp16-{code}",
            message=f"{len(named)} nodes stay float32, since {EXPLANATIONS[code]}: "
            + ", ".join(named.values()),
        )
        for code, named in sorted(kept.items())
    )


def _of_constants(
    units: Units, extents: Mapping[str, Extent], folder: Path
) -> Iterator[tuple[int, Reason]]:
    for value in units.values.values():
        if value.constant is None:
            continue
        for reader in value.readers:
            if reader.unit is None or reader.unit <= HALF_UNIT:
                continue
            detail = objection(value.constant, reader, folder)
            if detail is None:
                continue
            yield reader.unit, Reason("constant", detail)
            node = reader.node
            if node is None:
                continue
            if "loses" in detail:
                for unit in _guarded(node, units):
                    yield unit, Reason("constant", f"{value.name} guards it against zero")
            elif not any(name in extents for name in node.output):
                yield from (
                    (u, Reason("unmeasured", f"after {node.name}")) for u in _carried(node, units)
                )


def _guarded(node: onnx.NodeProto, units: Units) -> Iterator[int]:
    """Roots, logarithms and quotients of what a tiny constant was added to, one after another."""
    for name in node.output:
        for reader in units.values[name].readers if name in units.values else ():
            after = reader.node
            if after is not None and reader.unit is not None and after.op_type in _SINGULAR:
                yield reader.unit
                if after.op_type == "Sqrt":
                    yield from _guarded(after, units)


def _of_ranges(
    units: Units, extents: Mapping[str, Extent], largest_activation: float
) -> Iterator[tuple[int, Reason]]:
    for name, extent in extents.items():
        value = units.values[name]
        if extent.largest > largest_activation:
            detail = f"{name} reaches {extent.largest:.4g}"
        elif 0 < extent.largest < SMALLEST_NORMAL:
            detail = f"{name} reaches {extent.largest:.2g} only"
        else:
            continue
        yield value.unit, Reason("range", detail)
        for reader in value.readers:
            if reader.unit is not None:
                yield reader.unit, Reason("range", detail)


def _of_nodes(
    model: onnx.ModelProto, units: Units, types: Types, extents: Mapping[str, Extent]
) -> Iterator[tuple[int, Reason]]:
    owners = {id(node): unit for unit, node in enumerate(units.nodes) if node is not None}
    for node in graphs.walk_nodes(model):
        unit = owners.get(id(node))
        if unit is None:
            continue
        read = [value for value in units.inputs_of(node) if value.constant is None]
        measured = all(v.name in extents for v in read) and any(o in extents for o in node.output)
        if not measured and _grows(node, units):
            yield unit, Reason("unmeasured")
            for reader in _carried(node, units):
                yield reader, Reason("unmeasured", f"after {node.name}")
        elif node.op_type in _REDUCTIONS and read:
            for reason in _deep(node, read[0], types, extents):
                yield unit, reason
                if not measured:
                    for reader in _carried(node, units):
                        yield reader, Reason("unmeasured", f"after {node.name}")


def _carried(node: onnx.NodeProto, units: Units) -> Iterator[int]:
    """The units that a node's values reach before something makes them small again."""
    waiting, seen = [node], {id(node)}
    while waiting:
        for name in waiting.pop().output:
            for reader in units.values[name].readers if name in units.values else ():
                after = reader.node
                if after is None or reader.unit is None or id(after) in seen:
                    continue
                seen.add(id(after))
                if after.op_type in _CARRYING | _ENDING:
                    yield reader.unit
                if after.op_type in _CARRYING:
                    waiting.append(after)


def _grows(node: onnx.NodeProto, units: Units) -> bool:
    if node.op_type == "Mul":
        return node.input[0] == node.input[1]
    if node.op_type == "Pow":
        exponent = units.values.get(node.input[1])
        if exponent is not None and exponent.constant is not None:
            values = numpy_helper.to_array(exponent.constant)
            return not bool(((values >= 0) & (values <= 1)).all())
    return node.op_type in _GROWING


def _deep(
    node: onnx.NodeProto, data: HalfValue, types: Types, extents: Mapping[str, Extent]
) -> Iterator[Reason]:
    """Whether the sum may overflow: by what was measured, or else by how many it adds."""
    if node.op_type == "CumSum":
        yield Reason("deep-reduction", "rounded at every step")
        return
    known = extents.get(data.name)
    result = extents.get(node.output[0])
    if known is not None and result is not None:
        count = known.elements // max(result.elements, 1)
        if count * known.largest > LARGEST:
            yield Reason("deep-reduction", f"{count} of up to {known.largest:.4g}")
        return
    reduced = _reduced(node, data.name, types)
    if reduced is None or reduced > DEEP:
        yield Reason("deep-reduction", "over an unknown number" if reduced is None else "")


def _reduced(node: onnx.NodeProto, name: str, types: Types) -> int | None:
    """How many elements go into one of the result; None where that is dynamic."""
    before, after = types.shapes.get(name), types.shapes.get(node.output[0])
    if before is None or after is None:
        return None
    kept = [size for size in after if size is None]
    if len([size for size in before if size is None]) > len(kept):
        return None
    return math.prod(s for s in before if s) // max(math.prod(s for s in after if s), 1)
