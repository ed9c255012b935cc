"""Tensors of a finished graph given other names, wherever they are read."""

from collections.abc import Iterator, Sequence

import onnx


def rename_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the outputs these names, in order; in place.

    Whatever else has one of the names moves aside. An output that is an input or a weight at the
    same time keeps that name there, and an Identity gives it the new one.
    """
    graph = model.graph
    fixed = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for value, name in zip(graph.output, names, strict=True):
        if value.name == name:
            continue
        if name in _names(graph) and name not in fixed:
            _rename(graph, name, free_name(graph, f"{name}_inner"))
        if value.name in fixed:
            graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
            value.name = name
        else:
            _rename(graph, value.name, name)


def walk_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes' attributes, outermost first."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from walk_graphs(attribute.g)
            for inner in attribute.graphs:
                yield from walk_graphs(inner)


def _names(graph: onnx.GraphProto) -> set[str]:
    found: set[str] = set()
    for inner in walk_graphs(graph):
        for node in inner.node:
            found.update(node.input, node.output)
        found.update(value.name for value in (*inner.input, *inner.output, *inner.value_info))
        found.update(tensor.name for tensor in inner.initializer)
    return found


def free_name(graph: onnx.GraphProto, name: str) -> str:
    """The name, or the first one like it that nothing in the graph has."""
    taken = _names(graph)
    while name in taken:
        name += "_"
    return name


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for inner in walk_graphs(graph):
        for node in inner.node:
            for names in (node.input, node.output):
                for index, name in enumerate(names):
                    if name == old:
                        names[index] = new
        for value in (*inner.output, *inner.value_info):
            if value.name == old:
                value.name = new
