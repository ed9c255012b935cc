"""Graphs kept from an optimization of onnxruntime that changes what they compute.

Its Pad_Fusion moves the zeros of a Pad into the MaxPool behind it, whose own padding is minus
infinity: where all values of a window at the border are negative, they are the answer instead of 0
(up to 1.31 at least; `onnxruntime/core/optimizer/pad_fusion.cc`). A Pad that names its axes is left
alone.
"""

from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.exporters.renaming import free_name, walk_graphs

_NAMES_AXES_SINCE: Final = 18
_PADS, _VALUE, _AXES = 1, 2, 3
_NEVER_NEGATIVE: Final = frozenset({"Relu", "Sigmoid", "Softmax", "Abs"})
"""What makes values among which 0 and minus infinity are the same to a maximum."""


def guard_pools(model: onnx.ModelProto) -> None:
    """Give every Pad before a MaxPool its axes, where the opset has such an input; in place."""
    opset = next((it.version for it in model.opset_import if it.domain in {"", "ai.onnx"}), 0)
    if opset < _NAMES_AXES_SINCE:
        return
    for graph in walk_graphs(model.graph):
        pooled = {node.input[0] for node in graph.node if node.op_type == "MaxPool"}
        makers = {name: node.op_type for node in graph.node for name in node.output}
        for node in graph.node:
            if (
                node.op_type == "Pad"
                and node.output[0] in pooled
                and len(node.input) <= _AXES
                and makers.get(node.input[0]) not in _NEVER_NEGATIVE
                and (rank := _rank(graph, node.input[_PADS]))
            ):
                node.input.extend([""] * (_AXES - len(node.input)))
                node.input.append(_axes(model.graph, graph, rank))


def _rank(graph: onnx.GraphProto, pads: str) -> int | None:
    """Of what is padded; None where the pads are no constant, and so are not moved either."""
    for tensor in graph.initializer:
        if tensor.name == pads:
            return int(tensor.dims[0]) // 2
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] == pads:
            return len(numpy_helper.to_array(node.attribute[0].t)) // 2
    return None


def _axes(whole: onnx.GraphProto, graph: onnx.GraphProto, rank: int) -> str:
    name = free_name(whole, "pad_axes")
    axes = numpy_helper.from_array(np.arange(rank, dtype=np.int64), name)
    graph.initializer.append(axes)
    return name
