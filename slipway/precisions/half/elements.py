"""Element types and shapes of a model's values, and the model put into the form that needs them.

onnx's shape inference comes first; what it leaves open, since it knows no operator of
onnxruntime's own and stops at the first that it cannot infer, follows from the schemas.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import onnx
import onnx.inliner

from slipway.precisions import graphs
from slipway.precisions.half.operators import FULL, Opsets, signature

logger = logging.getLogger(__name__)

FLOAT: Final = onnx.TensorProto.FLOAT
Shape = tuple[int | None, ...]


@dataclass
class Types:
    """What is known of each value by its name, which is unique in the whole model."""

    elements: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def note(self, value: onnx.ValueInfoProto) -> None:
        """Remember what an annotation says."""
        tensor = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not tensor.elem_type:
            return
        self.elements.setdefault(value.name, tensor.elem_type)
        if tensor.HasField("shape"):
            sizes = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
            self.shapes.setdefault(value.name, tuple(sizes))


def normalize(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with functions inlined, constants as initializers, and unique value names.

    `model` is used up.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    filled = {tensor.name for tensor in model.graph.initializer}
    for value in [v for v in model.graph.input if v.name in filled]:
        model.graph.input.remove(value)  # IR 3 lists weights as inputs
    model.ir_version = max(model.ir_version, 4)
    _rename_inner(model.graph, set(_defined(model.graph)))
    for graph in graphs.walk_graphs(model.graph):
        _lift_constants(graph)
    graphs.tidy(model)
    return model


def infer_types(model: onnx.ModelProto) -> Types:
    """Types and shapes of all values; weights may be external and out of reach."""
    types = Types()
    for graph in graphs.walk_graphs(_inferred(model).graph):
        for value in (*graph.input, *graph.output, *graph.value_info):
            types.note(value)
    opsets = {"" if o.domain == "ai.onnx" else o.domain: o.version for o in model.opset_import}
    _follow(model.graph, types, opsets)
    return types


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model)
    except Exception as error:  # noqa: BLE001 - C++ errors without a common class
        logger.info("shape inference stops: %s; schemas must do", error)
        return model


def _follow(graph: onnx.GraphProto, types: Types, opsets: Opsets) -> None:
    for tensor in graph.initializer:
        types.elements[tensor.name] = tensor.data_type
        types.shapes[tensor.name] = tuple(tensor.dims)
    for node in graph.node:
        _enter(node, types)
        for inner in graphs.subgraphs(node):
            _follow(inner, types, opsets)
        _leave(node, types)
        found = signature(node, opsets)
        if found is None:
            continue
        bound = {
            variable: types.elements[name]
            for variable, name in zip(found.inputs, node.input, strict=True)
            if name in types.elements
        }
        for variable, name in zip(found.outputs, node.output, strict=True):
            if not name or name in types.elements:
                continue
            if variable == FULL:
                types.elements[name] = FLOAT
            elif variable in bound:
                types.elements[name] = bound[variable]


def _enter(node: onnx.NodeProto, types: Types) -> None:
    """What a body is given has the type of what the loop is given."""
    skipped = {"Loop": 2, "Scan": 0}.get(node.op_type)
    if skipped is None:
        return
    for body in graphs.subgraphs(node):
        given = node.input[skipped:]
        for outer, inner in zip(given, body.input[skipped:], strict=False):
            if outer in types.elements:
                types.elements.setdefault(inner.name, types.elements[outer])


def _leave(node: onnx.NodeProto, types: Types) -> None:
    """What a branch or a body gives has the type of the node's output."""
    skipped = {"If": 0, "Loop": 1, "Scan": 0}.get(node.op_type)
    if skipped is None:
        return
    for inner in graphs.subgraphs(node):
        for result, name in zip(inner.output[skipped:], node.output, strict=False):
            if result.name in types.elements:
                types.elements.setdefault(name, types.elements[result.name])


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    for value in graph.input:
        yield value.name
    for tensor in graph.initializer:
        yield tensor.name
    for node in graph.node:
        yield from (name for name in node.output if name)


def _rename_inner(graph: onnx.GraphProto, taken: set[str]) -> None:
    """Give values of inner graphs names that no other graph has; two branches may share some."""
    for node in graph.node:
        for inner in graphs.subgraphs(node):
            changed = {}
            for name in dict.fromkeys(_defined(inner)):
                fresh = name
                while fresh in taken:
                    fresh += "_"
                taken.add(fresh)
                if fresh != name:
                    changed[name] = fresh
            if changed:
                _rename(inner, changed)
            _rename_inner(inner, taken)


def _rename(graph: onnx.GraphProto, changed: dict[str, str]) -> None:
    for deeper in graphs.walk_graphs(graph):
        for value in (*deeper.input, *deeper.output, *deeper.value_info):
            value.name = changed.get(value.name, value.name)
        for tensor in deeper.initializer:
            tensor.name = changed.get(tensor.name, tensor.name)
        for node in deeper.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name in changed:
                        names[place] = changed[name]


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Make Constant nodes of floats initializers; one that is an output goes through Identity."""
    given = {value.name for value in graph.output}
    for node in [n for n in graph.node if n.op_type == "Constant"]:
        tensor = _float_constant(node)
        if tensor is None:
            continue
        name = node.output[0]
        if name in given:
            node.op_type = "Identity"
            node.ClearField("attribute")
            node.input.append(f"{name}_value")
            tensor.name = f"{name}_value"
        else:
            tensor.name = name
            graph.node.remove(node)
        graph.initializer.append(tensor)


def _float_constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    for attribute in node.attribute:
        if attribute.name == "value" and attribute.t.data_type == FLOAT:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(attribute.t)
            return tensor
        if attribute.name == "value_float":
            return onnx.helper.make_tensor("", FLOAT, [], [attribute.f])
        if attribute.name == "value_floats":
            return onnx.helper.make_tensor("", FLOAT, [len(attribute.floats)], attribute.floats)
    return None
