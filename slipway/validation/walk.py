"""One walk over a parsed model: every graph, function body and tensor in it, with its place.

The rules read this instead of walking the graph themselves. Nothing is judged here but depth.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.errors import UnreadableModel
from slipway.samples.arrays import Array

MAX_DEPTH: Final = 16
"""Subgraphs inside subgraphs; exporters write three or four, native parsers recurse on them."""

SMALL: Final = 4096
"""Elements up to which a constant may decide a shape, a mode or a count."""

FunctionKey = tuple[str, str, str]

_ATTRIBUTE: Final = onnx.AttributeProto
_NESTING: Final = frozenset(
    {
        _ATTRIBUTE.UNDEFINED,
        _ATTRIBUTE.GRAPH,
        _ATTRIBUTE.GRAPHS,
        _ATTRIBUTE.TENSOR,
        _ATTRIBUTE.TENSORS,
        _ATTRIBUTE.SPARSE_TENSOR,
        _ATTRIBUTE.SPARSE_TENSORS,
    }
)


def quote(name: str) -> str:
    """A name from a model, quoted and cut: names can be hostile or megabytes long."""
    return repr(name if len(name) <= 80 else name[:77] + "...")  # noqa: PLR2004 - a line's width


def describe_node(node: onnx.NodeProto) -> str:
    """How findings name a node: by its name, or by what it gives."""
    if node.name:
        return f"{node.op_type} {quote(node.name)}"[:120]
    return f"{node.op_type} giving {quote(node.output[0] if node.output else '')}"[:120]


@dataclass(frozen=True, eq=False)
class Scope:
    """One graph, subgraph or function body, which is one naming scope."""

    place: str
    nodes: tuple[onnx.NodeProto, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initializers: tuple[onnx.TensorProto, ...]
    sparse: tuple[onnx.SparseTensorProto, ...]
    opsets: Mapping[str, int]
    function: FunctionKey | None = None
    parent: "Scope | None" = None
    owner: int = -1

    @cached_property
    def by_name(self) -> dict[str, onnx.TensorProto]:
        """The initializers by name."""
        return {tensor.name: tensor for tensor in self.initializers}

    @cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that gives each value."""
        return {name: node for node in self.nodes for name in node.output if name}

    def constant(self, name: str) -> Array | None:
        """The value of a small constant that this scope sees under a name, where there is one."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.by_name:
                return small_array(scope.by_name[name])
            if name in scope.producers:
                return constant_value(scope.producers[name])
            if name in scope.inputs:
                return None
            scope = scope.parent
        return None


@dataclass(frozen=True)
class PlacedTensor:
    """A tensor that the model carries, and where; `node` holds it unless it is an initializer."""

    tensor: onnx.TensorProto
    place: str
    name: str
    node: onnx.NodeProto | None = None
    attribute: str = ""


@dataclass(frozen=True, eq=False)
class ModelWalk:
    """A parsed model with its folder, walked once.

    `scopes` lists parents before their children. `too_deep` holds the places below which nothing
    was looked at.
    """

    model: onnx.ModelProto
    folder: Path
    scopes: tuple[Scope, ...]
    tensors: tuple[PlacedTensor, ...]
    too_deep: tuple[str, ...]

    @cached_property
    def functions(self) -> dict[FunctionKey, onnx.FunctionProto]:
        """Model-local functions by domain, name and overload."""
        return {(f.domain, f.name, f.overload): f for f in self.model.functions}


@dataclass
class _Collector:
    scopes: list[Scope] = field(default_factory=list)
    tensors: list[PlacedTensor] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)
    pending: list[tuple[Scope, int]] = field(default_factory=list)

    def add(self, scope: Scope, depth: int) -> None:
        _require_text((*scope.inputs, *scope.outputs, *(t.name for t in scope.initializers)))
        _require_text(tensor.values.name for tensor in scope.sparse)
        self.scopes.append(scope)
        self.pending.append((scope, depth))
        for tensor in scope.initializers:
            place = f"initializer {quote(tensor.name)}"
            self.tensors.append(PlacedTensor(tensor, place, tensor.name))

    def enter(self, scope: Scope, depth: int) -> None:
        for index, node in enumerate(scope.nodes):
            _require_text((node.name, node.op_type, node.domain, *node.input, *node.output))
            for attribute in node.attribute:
                if attribute.type in _NESTING:
                    _require_text((attribute.name,))
                    self.look_into(attribute, scope, index, depth)

    def look_into(
        self, attribute: onnx.AttributeProto, scope: Scope, index: int, depth: int
    ) -> None:
        node = scope.nodes[index]
        for tensor in _tensors_of(attribute):
            place = f"{describe_node(node)}, attribute {quote(attribute.name)}"
            name = node.output[0] if node.output else ""
            self.tensors.append(PlacedTensor(tensor, place, name, node, attribute.name))
        for graph in _graphs_of(attribute):
            if depth >= MAX_DEPTH:
                self.too_deep.append(describe_node(node))
                continue
            place = f"{attribute.name[:40]} of {describe_node(node)}"
            self.add(_graph_scope(graph, place, scope.opsets, scope, index), depth + 1)


def walk_model(model: onnx.ModelProto, *, folder: Path) -> ModelWalk:
    """Collect every scope and tensor; time is linear in the model's nodes and attributes.

    Raises:
        UnreadableModel: when a name is no UTF-8, which only a damaged file has.
    """
    found = _Collector()
    _require_text(opset.domain for opset in model.opset_import)
    _require_text(text for f in model.functions for text in (f.domain, f.name, f.overload))
    for values in (model.graph.input, model.graph.output, model.graph.value_info):
        _require_text(d.dim_param for v in values for d in v.type.tensor_type.shape.dim)
    found.add(_graph_scope(model.graph, "graph", _opsets(model.opset_import)), 0)
    for function in model.functions:
        found.add(_function_scope(function, _opsets(model.opset_import)), 0)
    while found.pending:
        found.enter(*found.pending.pop())
    return ModelWalk(
        model, folder, tuple(found.scopes), tuple(found.tensors), tuple(found.too_deep)
    )


def _require_text(names: Iterable[str | bytes]) -> None:
    """ONNX's schema is proto2, whose parser hands out damaged strings as bytes."""
    for name in names:
        if isinstance(name, bytes):
            raise UnreadableModel(
                f"the model holds a name that is not text ({name[:40]!r}); is the file damaged?"
            )


def small_array(tensor: onnx.TensorProto) -> Array | None:
    """A tensor's value if it is small, inline and well-formed."""
    if (
        not 0 <= math.prod(tensor.dims) <= SMALL
        or tensor.data_location == onnx.TensorProto.EXTERNAL
    ):
        return None
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError):
        return None


def constant_value(node: onnx.NodeProto) -> Array | None:
    """What a Constant node gives, if it is small; None for any other node."""
    if node.op_type != "Constant" or not node.attribute:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        return small_array(attribute.t)
    if attribute.name in {"value_int", "value_ints"}:
        return np.array(attribute.ints[:SMALL] or [attribute.i])
    if attribute.name in {"value_float", "value_floats"}:
        return np.array(attribute.floats[:SMALL] or [attribute.f])
    return None


def _opsets(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {normal_domain(opset.domain): opset.version for opset in imports}


def normal_domain(domain: str) -> str:
    """`ai.onnx` is another spelling of the default domain."""
    return "" if domain == "ai.onnx" else domain


def _graph_scope(
    graph: onnx.GraphProto,
    place: str,
    opsets: Mapping[str, int],
    parent: Scope | None = None,
    owner: int = -1,
) -> Scope:
    return Scope(
        place=place,
        nodes=tuple(graph.node),
        inputs=tuple(value.name for value in graph.input),
        outputs=tuple(value.name for value in graph.output),
        initializers=tuple(graph.initializer),
        sparse=tuple(graph.sparse_initializer),
        opsets=opsets,
        function=parent.function if parent else None,
        parent=parent,
        owner=owner,
    )


def _function_scope(function: onnx.FunctionProto, opsets: Mapping[str, int]) -> Scope:
    return Scope(
        place=f"function {quote(function.name)}",
        nodes=tuple(function.node),
        inputs=tuple(function.input),
        outputs=tuple(function.output),
        initializers=(),
        sparse=(),
        opsets={**opsets, **_opsets(function.opset_import)},
        function=(function.domain, function.name, function.overload),
    )


def _tensors_of(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors


def _graphs_of(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs
