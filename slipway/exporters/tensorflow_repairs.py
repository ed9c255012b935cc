"""Operators that tf2onnx 1.17 leaves in the graph or writes as no runtime takes them, rewritten.

One function and one line of the table each. Each gives the nodes that stand for one leftover node,
with the same output.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.samples.arrays import Array

CAST_LIKE_OPSET: Final = 15

Repair = Callable[[onnx.NodeProto, int], list[onnx.NodeProto]]


def repair_leftovers(model: onnx.ModelProto) -> None:
    """Replace the leftovers that are known, in place; others stay for the caller to refuse."""
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    _repair_graph(model.graph, opset)


def _repair_graph(graph: onnx.GraphProto, opset: int) -> None:
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                _repair_graph(inner, opset)
        repair = REPAIRS.get(node.op_type) if not node.domain else None
        nodes += repair(node, opset) if repair else [node]
    del graph.node[:]
    graph.node.extend(nodes)


def _one_minus_erf(node: onnx.NodeProto, opset: int) -> list[onnx.NodeProto]:
    """Erfc(x) = 1 - Erf(x): what Keras's exact gelu computes."""
    erf, one = _inner(node, "erf"), _inner(node, "one")
    return [
        helper.make_node("Erf", [node.input[0]], [erf], name=erf),
        *_one_like(erf, one, opset),
        helper.make_node("Sub", [one, erf], [node.output[0]], name=node.name),
    ]


def _exp_minus_one(node: onnx.NodeProto, opset: int) -> list[onnx.NodeProto]:
    """Expm1(x) = Exp(x) - 1: what Keras's celu computes."""
    exp, one = _inner(node, "exp"), _inner(node, "one")
    return [
        helper.make_node("Exp", [node.input[0]], [exp], name=exp),
        *_one_like(exp, one, opset),
        helper.make_node("Sub", [exp, one], [node.output[0]], name=node.name),
    ]


def _count_boundaries(node: onnx.NodeProto, _: int) -> list[onnx.NodeProto]:
    """Bucketize(x): how many boundaries are at or below x, as Keras's Discretization counts."""
    found = next(a for a in node.attribute if a.name == "boundaries")
    boundaries = np.array(list(found.floats), np.float32)
    names = [_inner(node, part) for part in ("float", "last", "column", "edges", "below", "count")]
    floats, last, column, edges, below, count = names
    return [
        helper.make_node("Cast", [node.input[0]], [floats], name=floats, to=onnx.TensorProto.FLOAT),
        _constant(last, np.array([-1])),
        helper.make_node("Unsqueeze", [floats, last], [column], name=column),
        _constant(edges, boundaries),
        helper.make_node("GreaterOrEqual", [column, edges], [below], name=below),
        helper.make_node("Cast", [below], [count], name=count, to=onnx.TensorProto.INT32),
        helper.make_node("ReduceSum", [count, last], [node.output[0]], name=node.name, keepdims=0),
    ]


def _pad_the_output(node: onnx.NodeProto, _: int) -> list[onnx.NodeProto]:
    """ConvTranspose whose answer is larger than its sum: ONNX says so by output_padding."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if "pads" not in attributes or "output_padding" in attributes:
        return [node]
    pads = list(attributes["pads"].ints)
    begins, ends = pads[: len(pads) // 2], pads[len(pads) // 2 :]
    if min(begins) < 0 or min(ends) >= 0:
        return [node]
    attributes["pads"].ints[:] = [*begins, *(max(end, 0) for end in ends)]
    more = [max(-end, 0) for end in ends]
    node.attribute.append(helper.make_attribute("output_padding", more))
    return [node]


def _constant(name: str, values: Array) -> onnx.NodeProto:
    return helper.make_node(
        "Constant", [], [name], name=name, value=numpy_helper.from_array(values)
    )


def _one_like(value: str, one: str, opset: int) -> list[onnx.NodeProto]:
    """A one of a value's own type; before CastLike, of float32."""
    constant = np.ones((), np.float32)
    if opset < CAST_LIKE_OPSET:
        return [_constant(one, constant)]
    plain = f"{one}_float32"
    return [
        _constant(plain, constant),
        helper.make_node("CastLike", [plain, value], [one], name=one),
    ]


def _inner(node: onnx.NodeProto, part: str) -> str:
    return f"{node.output[0]}/{part}"


REPAIRS: Final[dict[str, Repair]] = {
    "Erfc": _one_minus_erf,
    "Expm1": _exp_minus_one,
    "Bucketize": _count_boundaries,
    "ConvTranspose": _pad_the_output,
}
