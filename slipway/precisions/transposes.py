"""A way round onnxruntime 1.31 crashing on float16 models; delete it when the crash is gone.

Symptom: creating a CPU session with all optimizations ends in a segmentation fault where a float16
Transpose that moves the first axis behind the other batch axes, such as [1, 0, 2], feeds a MatMul
(MatmulTransposeFusion with the cast in between). torch's attention layers with `batch_first` do.
"""

from collections.abc import Mapping

import onnx


def move_transposes_behind_matmul(graph: onnx.GraphProto) -> int:
    """In place: MatMul(Transpose(x), w) becomes Transpose(MatMul(x, w)); how many were moved.

    The same numbers, since a two-dimensional constant `w` meets the last axis alone, which the
    transposition leaves where it is.
    """
    producers = {name: node for node in graph.node for name in node.output}
    flat = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 2}  # noqa: PLR2004
    moved = 0
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "MatMul" or node.input[1] not in flat:
            continue
        transpose = producers.get(node.input[0])
        if transpose is None or not _moves_first_axis(transpose):
            continue
        result = node.output[0]
        node.input[0] = transpose.input[0]
        node.output[0] = f"{result}_before_transpose"
        behind = onnx.helper.make_node(
            "Transpose", [node.output[0]], [result], perm=_permutation(transpose)
        )
        graph.node.insert(index + 1, behind)
        moved += 1
    _drop_unread(graph, producers)
    return moved


def _moves_first_axis(node: onnx.NodeProto) -> bool:
    perm = _permutation(node)
    return (
        node.op_type == "Transpose"
        and bool(perm)
        and perm == [*range(1, len(perm) - 1), 0, len(perm) - 1]
    )


def _permutation(node: onnx.NodeProto) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == "perm"), [])


def _drop_unread(graph: onnx.GraphProto, producers: Mapping[str, onnx.NodeProto]) -> None:
    """Drop Transposes that only the moved MatMuls read."""
    read = {name for node in graph.node for name in node.input}
    read |= {value.name for value in graph.output}
    captured = any(
        attribute.type == onnx.AttributeProto.GRAPH
        for node in graph.node
        for attribute in node.attribute
    )
    for name, node in producers.items():
        if node.op_type == "Transpose" and name not in read and not captured:
            graph.node.remove(node)
