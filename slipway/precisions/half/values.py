"""A model as float values and the units that make and read them, across all of its subgraphs.

A unit is what can only be float16 or float32 as a whole: the type variables of one node, or one
value that a loop or a branch hands on, inside and outside alike.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import onnx

from slipway.precisions import graphs
from slipway.precisions.half.control import Tie, ties_of
from slipway.precisions.half.elements import FLOAT, Types
from slipway.precisions.half.operators import Opsets, has_kernel, signature

FULL_UNIT: Final = 0
"""Whatever is float32 by its schema or its place."""
HALF_UNIT: Final = 1
"""Inputs and outputs that are to be float16."""


@dataclass(frozen=True, eq=False)
class Reader:
    """One place that reads a value: a node's input, or an output of a graph."""

    unit: int | None
    """None where any type will do."""
    owner: onnx.NodeProto | onnx.GraphProto
    position: int

    @property
    def node(self) -> onnx.NodeProto | None:
        """The node that reads, if it is one."""
        return self.owner if isinstance(self.owner, onnx.NodeProto) else None


@dataclass
class HalfValue:
    """One float tensor: its maker's unit, or the tensor itself where it is a constant."""

    name: str
    home: onnx.GraphProto
    unit: int = FULL_UNIT
    maker: onnx.NodeProto | None = None
    constant: onnx.TensorProto | None = None
    readers: list[Reader] = field(default_factory=list)


@dataclass
class Units:
    """The float part of a model. `nodes[unit]` is the node that a unit belongs to."""

    nodes: list[onnx.NodeProto | None]
    values: dict[str, HalfValue]
    kernels: set[int] = field(default_factory=set)
    """Units whose operator has a float16 kernel."""
    fixed: list[onnx.NodeProto] = field(default_factory=list)
    """Nodes with floats that can only be float32."""

    def inputs_of(self, node: onnx.NodeProto) -> Iterator[HalfValue]:
        """The float values that a node reads."""
        return (self.values[name] for name in node.input if name in self.values)


def read_units(model: onnx.ModelProto, types: Types, *, keep_io: bool) -> Units:
    """Read the model, whose value names are unique and whose nodes are in order."""
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    reading = _Reading(types=types, opsets=opsets)
    outside = FULL_UNIT if keep_io else HALF_UNIT
    for value in model.graph.input:
        reading.define(value.name, model.graph, outside)
    reading.graph(model.graph)
    for position, value in enumerate(model.graph.output):
        reading.read(value.name, outside, model.graph, position)
    return Units(
        nodes=reading.nodes, values=reading.values, kernels=reading.kernels, fixed=reading.fixed
    )


@dataclass
class _Reading:
    types: Types
    opsets: Opsets
    nodes: list[onnx.NodeProto | None] = field(default_factory=lambda: [None, None])
    values: dict[str, HalfValue] = field(default_factory=dict)
    kernels: set[int] = field(default_factory=set)
    fixed: list[onnx.NodeProto] = field(default_factory=list)
    frozen: bool = False

    def is_float(self, name: str) -> bool:
        return bool(name) and self.types.elements.get(name) == FLOAT

    def define(
        self,
        name: str,
        home: onnx.GraphProto,
        unit: int,
        maker: onnx.NodeProto | None = None,
    ) -> None:
        if self.is_float(name):
            self.values[name] = HalfValue(name, home, unit, maker)

    def read(
        self,
        name: str,
        unit: int | None,
        owner: onnx.NodeProto | onnx.GraphProto,
        position: int,
    ) -> None:
        if name in self.values:
            self.values[name].readers.append(Reader(unit, owner, position))

    def new_unit(self, node: onnx.NodeProto) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def graph(self, graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            if self.is_float(tensor.name):
                self.values[tensor.name] = HalfValue(tensor.name, graph, constant=tensor)
        for sparse in graph.sparse_initializer:
            self.define(sparse.values.name, graph, FULL_UNIT)
        for node in graph.node:
            if any(True for _ in graphs.subgraphs(node)):
                self.control(graph, node)
            else:
                self.plain(graph, node)

    def plain(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        found = None if self.frozen else signature(node, self.opsets)
        unit: int | None = None

        def unit_of(variable: str) -> int:
            nonlocal unit
            if found is None or variable not in found.halves:
                return FULL_UNIT
            if unit is None:
                unit = self.new_unit(node)
                if has_kernel(node):
                    self.kernels.add(unit)
            return unit

        for position, name in enumerate(node.input):
            if self.is_float(name):
                free = found is not None and position == found.free
                variable = found.inputs[position] if found else ""
                self.read(name, None if free else unit_of(variable), node, position)
        for position, name in enumerate(node.output):
            if self.is_float(name):
                self.define(name, graph, unit_of(found.outputs[position] if found else ""), node)
        touched = [name for name in (*node.input, *node.output) if self.is_float(name)]
        if unit is None and touched and (found is None or found.free is None):
            self.fixed.append(node)

    def control(self, graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
        """A node with graphs inside. Of operators unknown here, everything stays as it is."""
        before = self.frozen
        ties = () if self.frozen else ties_of(node, self.opsets.get("", 1))
        self.frozen = self.frozen or not ties
        tied = [tie for tie in ties if any(self.is_float(name) for name in tie.names(node))]
        results: dict[tuple[int, int], int] = {}
        for tie in tied:
            self.tie(graph, node, tie, results)
        reads = {tie.read for tie in tied}
        for position, name in enumerate(node.input):
            if position not in reads:
                self.read(name, FULL_UNIT, node, position)
        for inner in graphs.subgraphs(node):
            self.inner(inner, results)
        for name in node.output:
            if name not in self.values:
                self.define(name, graph, FULL_UNIT, node)
        self.frozen = before

    def tie(
        self,
        graph: onnx.GraphProto,
        node: onnx.NodeProto,
        tie: Tie,
        results: dict[tuple[int, int], int],
    ) -> None:
        """Give all places of one value one unit; outputs of bodies are kept for later."""
        unit = self.new_unit(node)
        self.kernels.add(unit)
        if tie.read is not None:
            self.read(node.input[tie.read], unit, node, tie.read)
        for inner, entry, result in tie.inside:
            if entry is not None:
                self.define(inner.input[entry].name, inner, unit)
            if result is not None:
                results[id(inner), result] = unit
        if tie.output is not None:
            self.define(node.output[tie.output], graph, unit, node)

    def inner(self, inner: onnx.GraphProto, results: Mapping[tuple[int, int], int]) -> None:
        for value in inner.input:
            if value.name not in self.values:
                self.define(value.name, inner, FULL_UNIT)
        self.graph(inner)
        for place, result in enumerate(inner.output):
            self.read(result.name, results.get((id(inner), place), FULL_UNIT), inner, place)
