"""ONNX models read whole, tidied so that equal inputs give equal bytes, and written.

No numbers are changed here.
"""

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import onnx
from onnx.external_data_helper import load_external_data_for_model

from slipway.errors import PrecisionFailed, UnreadableModel
from slipway.providers.signature import read_graph

# A protobuf ends at 2 GB; a quantizer makes copies and adds to them before it saves.
LARGE_BYTES: Final = 1_500_000_000
DEFAULT_DOMAINS: Final = frozenset({"", "ai.onnx"})
DATA_SUFFIX: Final = ".data"


def load_model(path: Path) -> onnx.ModelProto:
    """Parse a model with all its weights in memory.

    Raises:
        SourceNotFound: when there is no file.
        UnreadableModel: when it or its external data cannot be read.
    """
    model = read_graph(path)
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UnreadableModel(f"external data of {path.name} cannot be read: {error}") from error
    return model


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model to a new file; the weights of a large one leave memory for `path` + `.data`."""
    if is_large(model):
        onnx.save_model(
            model,
            path,
            save_as_external_data=True,
            all_tensors_to_one_file=True,
            location=path.name + DATA_SUFFIX,
        )
    else:
        onnx.save_model(model, path)


def is_large(model: onnx.ModelProto) -> bool:
    """Whether the weights in memory are too much for one protobuf."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LARGE_BYTES


def walk_graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and every graph inside its nodes' attributes, outermost first."""
    yield graph
    for node in graph.node:
        for inner in subgraphs(node):
            yield from walk_graphs(inner)


def walk_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those inside control flow and model-local functions too."""
    for graph in walk_graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def operators(model: onnx.ModelProto) -> set[str]:
    """The names of the operators used anywhere in the model."""
    return {node.op_type for node in walk_nodes(model)}


def constants(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """(name, tensor) of all initializers and Constant nodes that hold a tensor."""
    for inner in walk_graphs(graph):
        for tensor in inner.initializer:
            yield tensor.name, tensor
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR and node.op_type == "Constant":
                    yield node.output[0], attribute.t


def tidy(model: onnx.ModelProto) -> None:
    """In place: nodes sorted and uniquely named, nothing kept that no runtime reads.

    Documentation, metadata (with source paths), inferred shapes and unused opset imports go.
    """
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    for graph in walk_graphs(model.graph):
        graph.ClearField("doc_string")
        graph.ClearField("metadata_props")
        graph.ClearField("value_info")
        sort_nodes(graph)
    for node in walk_nodes(model):
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    name_nodes(model)
    used = {node.domain for node in walk_nodes(model)} | DEFAULT_DOMAINS
    imports = [opset for opset in model.opset_import if opset.domain in used]
    imports.sort(key=lambda opset: opset.domain)
    del model.opset_import[:]
    model.opset_import.extend(imports)


def name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a name of its own, keeping those that are."""
    taken = {node.name for node in walk_nodes(model)}
    seen: set[str] = set()
    for index, node in enumerate(walk_nodes(model)):
        if not node.name or node.name in seen:
            stem = node.name or node.op_type
            candidate = f"{stem}_{index}"
            while candidate in taken:
                candidate += "_"
            taken.add(candidate)
            node.name = candidate
        seen.add(node.name)


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Order nodes so that every value is made before it is read, changing as little as possible.

    Raises:
        PrecisionFailed: when nodes need each other in a circle.
    """
    nodes = list(graph.node)
    producer = {name: i for i, node in enumerate(nodes) for name in node.output if name}
    needs = [{producer[name] for name in _reads(node) if name in producer} for node in nodes]
    readers: list[list[int]] = [[] for _ in nodes]
    for index, needed in enumerate(needs):
        for other in needed:
            readers[other].append(index)
    ready = [index for index, needed in enumerate(needs) if not needed]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            needs[reader].discard(index)
            if not needs[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(nodes):
        stuck = next(node for index, node in enumerate(nodes) if index not in set(order))
        raise PrecisionFailed(f"the graph is circular at node {stuck.name or stuck.op_type}")
    if order != sorted(order):
        copies = [onnx.NodeProto.FromString(nodes[i].SerializeToString()) for i in order]
        del graph.node[:]
        graph.node.extend(copies)


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names of the values that a node needs, those that its subgraphs capture too."""
    yield from node.input
    for inner in subgraphs(node):
        for deeper in walk_graphs(inner):
            yield from (value.name for value in deeper.output)
            for child in deeper.node:
                yield from child.input


def subgraphs(node: onnx.NodeProto) -> Iterable[onnx.GraphProto]:
    """The graphs that a node's attributes hold."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
