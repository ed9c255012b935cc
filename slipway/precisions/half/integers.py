"""Whole numbers computed with as floats: positions, sizes, time stamps.

float16 counts to 2048. A rotary embedding's angles, a resize's sizes, a time stamp's seconds are
wrong beyond, though nothing overflows and calibration data shows nothing.
"""

from collections.abc import Iterator
from typing import Final

import onnx

from slipway.precisions import graphs
from slipway.precisions.half.elements import Types
from slipway.precisions.half.operators import words
from slipway.precisions.half.values import HalfValue, Units

_WIDE: Final = frozenset(
    {
        onnx.TensorProto.INT16,
        onnx.TensorProto.INT32,
        onnx.TensorProto.INT64,
        onnx.TensorProto.UINT16,
        onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64,
    }
)
"""Bytes and booleans are exact in float16."""

_HANDING_ON: Final = words(
    """
    Abs Add Ceil Clip Concat Div Exp Expand Flatten Floor Gather Identity Log Max Min Mod Mul Neg
    Pow Reciprocal Reshape Round Slice Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where
    """
)


def integer_units(model: onnx.ModelProto, units: Units, types: Types) -> Iterator[int]:
    """Units of nodes all of whose inputs come from whole numbers and constants.

    Where such a value meets an activation, as a mask meets scores, it may be float16.
    """
    owners = {id(node): unit for unit, node in enumerate(units.nodes) if node is not None}
    exact: set[str] = set()
    settled: set[str] = set()
    for graph in graphs.walk_graphs(model.graph):
        for node in graph.node:
            if any(True for _ in graphs.subgraphs(node)):
                continue
            read = list(units.inputs_of(node))
            live = [v for v in read if v.constant is None and v.name not in settled]
            if _is_source(node, types):
                exact.update(node.output)
            elif not live:
                if read or node.op_type == "ConstantOfShape":
                    settled.update(node.output)
                continue
            elif not all(value.name in exact for value in live):
                continue
            elif _hands_on(node, live, types):
                exact.update(node.output)
            if id(node) in owners:
                yield owners[id(node)]


def _is_source(node: onnx.NodeProto, types: Types) -> bool:
    if node.op_type == "Cast":
        return types.elements.get(node.input[0]) in _WIDE
    return node.op_type == "Range"


def _hands_on(node: onnx.NodeProto, live: list[HalfValue], types: Types) -> bool:
    """Whether the result is as exact as what was read: a sum of many is an activation."""
    if node.op_type == "MatMul":  # an outer product, as of positions and frequencies
        shape = types.shapes.get(node.input[0])
        return shape is not None and shape[-1] == 1
    return node.op_type in _HANDING_ON and bool(live)
