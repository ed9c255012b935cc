"""Attention masks made with a stand-in for minus infinity: found, and clamped where that is exact.

A mask of finfo.min makes ranges that no eight bits hold, and overflows float16. A masked score only
has to be so low that its exponential is zero beside the largest one.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.precisions import graphs
from slipway.precisions.calibration import calibrate
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs
from slipway.reports import Finding
from slipway.samples.arrays import Array, Samples
from slipway.samples.fitting import fit_inputs

# Constants as low as these stand for minus infinity.
LOWEST: Final = -1e4
# The exponential of less than this is zero in float32, whose smallest number is 2**-149.
VANISHES: Final = math.log(2.0**-149) - 1
# What a mask goes through between its constant and the scores.
_CARRIED: Final = frozenset(
    {"Add", "Mul", "Sub", "Where", "Cast", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose",
     "Slice", "Concat", "Identity", "Tile", "Constant", "ConstantOfShape"}
)  # fmt: skip


@dataclass(frozen=True)
class Mask:
    """A constant that reaches a Softmax by additions and selections alone, and the scores there."""

    constant: str
    lowest: float
    scores: tuple[str, ...]


def find_masks(graph: onnx.GraphProto) -> tuple[Mask, ...]:
    """The constants that stand for minus infinity before a Softmax, and nowhere else."""
    makers = {name: node for node in graph.node for name in node.output}
    lowest = {name: low for name, low in _lowest(graph) if low <= LOWEST}
    scores: dict[str, list[str]] = {name: [] for name in lowest}
    for node in graph.node:
        if node.op_type == "Softmax":
            others, reached = _before(node.input[0], makers, lowest)
            for name in reached:
                scores[name] += others
    elsewhere = _elsewhere(graph, set(lowest))
    return tuple(
        Mask(name, low, tuple(dict.fromkeys(scores[name])))
        for name, low in lowest.items()
        if scores[name] and name not in elsewhere
    )


def clamp_masks(model: Path, samples: Samples) -> tuple[Finding, ...]:
    """Clamp the masks of a model's file in place, where its outputs on the samples stay the same.

    The new value lies below the scores by twice their spread and by what makes an exponential
    vanish, as a power of two. A row that masks everything has other outputs then; with such rows
    among the samples nothing is changed.

    Returns:
        A finding for each mask: clamped, or why not.
    """
    proto = onnx.load(model, load_external_data=False)
    masks = find_masks(proto.graph)
    if not masks:
        return ()
    known = {
        value.name
        for value in (*proto.graph.value_info, *proto.graph.input)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    wanted = [name for mask in masks for name in mask.scores if name in known]
    inputs = model_inputs(proto)
    fixed = (tensor.shape[0] for tensor in inputs if tensor.shape)
    few = samples.rows(0, max((it for it in fixed if isinstance(it, int)), default=_LOOKED_AT))
    feeds = fit_inputs(inputs, few)
    seen = calibrate(model, few, method="minmax", tensors=wanted).observed if wanted else {}
    spread = max((high - low for low, high in seen.values()), default=0.0)
    if not math.isfinite(spread):
        return tuple(_finding(mask, "its scores are not finite") for mask in masks)
    value = -float(2 ** math.ceil(math.log2(2 * spread - VANISHES)))
    before = Session(model).run(feeds)
    clamped = model.with_name("clamped.onnx")
    for _, tensor in _named(proto.graph, {mask.constant for mask in masks}):
        _clamp(tensor, value)
    onnx.save_model(proto, clamped)
    after = Session(clamped).run(feeds)
    if not all(_same(before[name], after[name]) for name in before):
        clamped.unlink()
        return tuple(_finding(mask, "rows that mask everything depend on it") for mask in masks)
    clamped.replace(model)
    return tuple(_finding(mask, None, value) for mask in masks)


_LOOKED_AT: Final = 8


def _before(
    name: str, makers: Mapping[str, onnx.NodeProto], lowest: Mapping[str, float]
) -> tuple[list[str], set[str]]:
    """The scores that come to a tensor through additions and selections, and the masks that do."""
    scores: list[str] = []
    reached: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        if current in lowest:
            reached.add(current)
        elif current in makers and makers[current].op_type in _CARRIED:
            pending += [name for name in makers[current].input if name]
        elif current in makers:
            scores.append(current)
    return scores, reached


def _elsewhere(graph: onnx.GraphProto, names: set[str]) -> set[str]:
    """Those of the constants whose values go anywhere but into a Softmax's input."""
    carriers: dict[str, set[str]] = {name: {name} for name in names}
    wrong: set[str] = set()
    for node in graph.node:
        here = {mask for name in node.input for mask in carriers.get(name, ())}
        if not here or node.op_type == "Softmax":
            continue
        if node.op_type not in _CARRIED:
            wrong |= here
        for output in node.output:
            carriers.setdefault(output, set()).update(here)
    for value in graph.output:
        wrong |= carriers.get(value.name, set())
    return wrong


def _lowest(graph: onnx.GraphProto) -> Iterator[tuple[str, float]]:
    """The smallest value of each small float constant; of masks most are a single number."""
    for name, tensor in _named(graph, None):
        values = numpy_helper.to_array(tensor)
        if values.size and not np.isnan(values).any() and values.max() <= 0:
            yield name, float(values.min())


def _named(
    graph: onnx.GraphProto, names: set[str] | None
) -> Iterator[tuple[str, onnx.TensorProto]]:
    for name, tensor in graphs.constants(graph):
        inside = tensor.data_location != onnx.TensorProto.EXTERNAL
        if (
            tensor.data_type == onnx.TensorProto.FLOAT
            and inside
            and (names is None or name in names)
        ):
            yield name, tensor


def _clamp(tensor: onnx.TensorProto, value: float) -> None:
    values = np.maximum(numpy_helper.to_array(tensor), np.float32(value))
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def _same(before: Array, after: Array) -> bool:
    """Equal up to what a sum loses in float32 beside another constant."""
    if before.shape != after.shape or before.dtype.kind != "f":
        return bool(np.array_equal(before, after))
    scale = float(np.abs(before[np.isfinite(before)]).max(initial=0.0))
    return bool(np.allclose(before, after, rtol=1e-5, atol=1e-6 * scale, equal_nan=True))


def _finding(mask: Mask, reason: str | None, value: float = 0.0) -> Finding:
    if reason is None:
        code = "mask-clamped"
        said = f"clamped to {value:g}, which softmax tells from it by nothing"
    else:
        code = "mask-kept"
        said = f"kept: {reason}"
    return Finding(
        level="warning",
        code=code,
        message=f"mask constant {mask.constant} is {mask.lowest:g}; {said}",
        place=mask.constant,
    )
