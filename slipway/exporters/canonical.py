"""One order and one naming for equal graphs, whatever order a converter's sets had.

tf2onnx 1.17 walks over sets of names, so that the order of nodes and the counters in their names
(`Transpose__24`) change with Python's hash seed, and the digest with them.
"""

import re
from collections.abc import Iterator
from typing import Final

import onnx

_COUNTER: Final = re.compile(r"__\d+")
_UNNAMED: Final = re.compile(r"unk__\d+")


def canonicalize(model: onnx.ModelProto) -> None:
    """Order nodes and initializers by how outputs are computed, and number names anew; in place.

    What no output is computed from is dropped. Names of inputs and outputs stay. Where there are
    loops or branches, all else is called by its operator: of the equal parts of two loops, tf2onnx
    keeps any one's names, and those of loops count on over all that TensorFlow has traced.
    """
    graph = model.graph
    _order(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    if any(True for node in graph.node for _ in subgraphs(node)):
        _name_by_operator(graph, kept)
    _rename_tensors(graph, _weight_names(graph))
    tensors = list(dict.fromkeys(_tensor_names(graph)))
    _rename_tensors(graph, _renamed(tensors, kept))
    nodes = list(dict.fromkeys(node.name for node in _nodes(graph)))
    names = _renamed(nodes, {""})
    for node in _nodes(graph):
        node.name = names[node.name]
        if not node.domain:
            node.ClearField("domain")  # said or not said, it is ONNX's own
    _number_sizes(graph)


def _number_sizes(graph: onnx.GraphProto) -> None:
    """Number the sizes that nobody named from zero: tf2onnx counts on from model to model."""
    new: dict[str, str] = {}
    for inner in (graph, *(sub for node in _nodes(graph) for sub in subgraphs(node))):
        for value in (*inner.input, *inner.output, *inner.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if _UNNAMED.fullmatch(dim.dim_param):
                    dim.dim_param = new.setdefault(dim.dim_param, f"unk__{len(new)}")


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node's attributes hold."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _order(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        for inner in subgraphs(node):
            _copies_last(inner)
            _order(inner)
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    ordered: dict[int, None] = {}
    pending = [(makers[v.name], False) for v in reversed(graph.output) if v.name in makers]
    while pending:
        index, ready = pending.pop()
        if ready or index in ordered:
            ordered[index] = None
            continue
        pending.append((index, True))
        for name in reversed(_uses(graph.node[index])):
            index = makers.get(name, -1)
            pending += [(index, False)] if index >= 0 and index not in ordered else []
    nodes = [graph.node[index] for index in ordered]
    used = {name: place for place, name in enumerate(n for node in nodes for n in _uses(node))}
    used |= {value.name: -1 for value in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    weights.sort(key=lambda tensor: used[tensor.name])
    copied, stored = [_copy(node) for node in nodes], [_copy_tensor(t) for t in weights]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(copied)
    graph.initializer.extend(stored)


def _copies_last(graph: onnx.GraphProto) -> None:
    """Of two results that are one value, let the later be the Identity of the earlier."""
    sources = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Identity"}
    for place, value in enumerate(graph.output):
        for other in graph.output[place + 1 :]:
            if sources.get(value.name) == other.name:
                value.name, other.name = other.name, value.name


def _uses(node: onnx.NodeProto) -> list[str]:
    """What a node reads, in its subgraphs too."""
    names = list(node.input)
    for inner in subgraphs(node):
        for other in inner.node:
            names += _uses(other)
        names += [value.name for value in inner.output]
    return names


def _tensor_names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in graph.input)
    for node in graph.node:
        yield from node.input
        for inner in subgraphs(node):
            yield from _tensor_names(inner)
        yield from node.output
    yield from (tensor.name for tensor in graph.initializer)
    yield from (value.name for value in graph.output)


def _name_by_operator(graph: onnx.GraphProto, kept: set[str]) -> None:
    """Call tensors and nodes by the operator that makes them, with a counter for `_renamed`."""
    new = {"": "", **{name: name for name in kept}}
    for count, node in enumerate(_nodes(graph)):
        node.name = f"{node.op_type}__{count}"
        for place, name in enumerate(node.output):
            new.setdefault(name, f"{node.op_type}_{place}__{len(new)}")
        for inner in subgraphs(node):
            inner.name = node.op_type
            for place, value in enumerate(inner.input):
                new.setdefault(value.name, f"{node.op_type}_in_{place}__{len(new)}")
    for name in _tensor_names(graph):
        new.setdefault(name, f"weight__{len(new)}")
    _rename_tensors(graph, new)


def _weight_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Weights called by where they are used first: of equal ones, tf2onnx keeps any one's name."""
    new = {name: name for name in _tensor_names(graph)}
    weights = {tensor.name for tensor in graph.initializer}
    weights -= {value.name for value in (*graph.input, *graph.output)}
    taken = set(new) - weights
    for node in _nodes(graph):
        for slot, name in enumerate(node.input):
            if name in weights:
                called = f"{node.output[0]}/input_{slot}"
                if called not in taken:
                    weights.remove(name)
                    taken.add(called)
                    new[name] = called
    return new


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in subgraphs(node):
            yield from _nodes(inner)


def _renamed(names: list[str], kept: set[str]) -> dict[str, str]:
    """New names, numbered in the order given; those without a counter stay."""
    new = {name: name for name in names if name in kept or not _COUNTER.search(name)}
    taken = set(new.values())
    for name in names:
        if name in new:
            continue
        base, number = _COUNTER.sub("", name), 1
        while f"{base}__{number}" in taken:
            number += 1
        new[name] = f"{base}__{number}"
        taken.add(new[name])
    return new


def _rename_tensors(graph: onnx.GraphProto, new: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new[name] for name in names]
        for inner in subgraphs(node):
            _rename_tensors(inner, new)
    for tensor in graph.initializer:
        tensor.name = new[tensor.name]
    for value in (*graph.input, *graph.output):
        value.name = new[value.name]


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _copy_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    copied = onnx.TensorProto()
    copied.CopyFrom(tensor)
    return copied
