"""The graph round a forest: columns joined before it, link functions and labels behind it.

Operators are written as every opset from 11 on has them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.exporters.cleaning import IR_VERSION
from slipway.exporters.trees import ML_DOMAIN, ML_OPSET, Forest, Number, tree_node
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array

_TYPES: Final = {
    "float32": onnx.TensorProto.FLOAT,
    "float64": onnx.TensorProto.DOUBLE,
    "int64": onnx.TensorProto.INT64,
    "int32": onnx.TensorProto.INT32,
    "int16": onnx.TensorProto.INT16,
    "int8": onnx.TensorProto.INT8,
    "uint8": onnx.TensorProto.UINT8,
    "bool": onnx.TensorProto.BOOL,
    "float16": onnx.TensorProto.FLOAT16,
    "string": onnx.TensorProto.STRING,
}


class Graph:
    """A graph that is written node by node; each method returns the name of what it made."""

    def __init__(self, inputs: Sequence[TensorInfo]) -> None:
        self.inputs = tuple(inputs)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._taken = {tensor.name for tensor in inputs}

    def add(self, op: str, *sources: str, domain: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """One node with one output."""
        name = self._free(op.lower())
        self.nodes.append(
            helper.make_node(op, sources, [name], name=name, domain=domain, **attributes)
        )
        return name

    def constant(self, values: Any) -> str:  # noqa: ANN401 - anything that numpy takes
        """A stored tensor; strings become ONNX strings."""
        name = self._free("constant")
        array = np.asarray(values)
        if array.dtype.kind in "US":
            array = array.astype(object)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def features(self, number: Number) -> str:
        """All inputs as one matrix [batch, features]: cast, and joined where there are several."""
        parts = [self.cast(tensor.name, tensor.dtype, number) for tensor in self.inputs]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def cast(self, source: str, have: str, want: str) -> str:
        """The source in another element type, where it has another."""
        return source if have == want else self.add("Cast", source, to=_TYPES[want])

    def trees(self, forest: Forest, source: str, number: Number) -> str:
        """The sums of a forest, [batch, targets] in float32."""
        name = self._free("sums")
        self.nodes.append(tree_node(forest, source=source, result=name, number=number))
        return name

    def model(
        self, outputs: Mapping[str, tuple[str, TensorInfo]], *, opset: int
    ) -> onnx.ModelProto:
        """The whole, with each output called by its name.

        Args:
            outputs: By the name wanted: the tensor made here, and its type and shape.
            opset: Version of the standard operators.
        """
        for name, (source, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [source], [name], name=f"give_{name}"))
        graph = helper.make_graph(
            self.nodes,
            "slipway",
            [_value(tensor) for tensor in self.inputs],
            [
                _value(tensor.model_copy(update={"name": name}))
                for name, (_, tensor) in outputs.items()
            ],
            self.constants,
        )
        return helper.make_model(
            graph,
            producer_name="slipway",
            ir_version=IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", opset),
                helper.make_opsetid(ML_DOMAIN, ML_OPSET),
            ],
        )

    def reserve(self, names: Sequence[str]) -> None:
        """Keep names for outputs, so that no tensor inside has them."""
        self._taken |= set(names)

    def _free(self, stem: str) -> str:
        name, count = stem, 0
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name


def identity(_: Graph, raw: str) -> str:
    """The sums as they are."""
    return raw


def sigmoid(graph: Graph, raw: str) -> str:
    """1 / (1 + exp(-x))."""
    return graph.add("Sigmoid", raw)


def exponential(graph: Graph, raw: str) -> str:
    """exp(x)."""
    return graph.add("Exp", raw)


def softplus(graph: Graph, raw: str) -> str:
    """log(1 + exp(x))."""
    return graph.add("Softplus", raw)


def softmax(graph: Graph, raw: str) -> str:
    """Probabilities of exclusive classes."""
    return graph.add("Softmax", raw, axis=1)


def two_classes(graph: Graph, probability: str) -> str:
    """[1 - p, p] of a column of the second class's probabilities."""
    other = graph.add("Sub", graph.constant(np.float32(1)), probability)
    return graph.add("Concat", other, probability, axis=1)


def best_class(graph: Graph, scores: str, classes: Array) -> str:
    """The label of each row's largest score, the first of equal ones."""
    index = graph.add("ArgMax", scores, axis=1, keepdims=0)
    if classes.dtype.kind == "i" and np.array_equal(classes, np.arange(len(classes))):
        return index
    return graph.add("Gather", graph.constant(classes), index, axis=0)


Link = Callable[[Graph, str], str]


def _value(tensor: TensorInfo) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], list(tensor.shape))
