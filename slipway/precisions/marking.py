"""Which tensors of a graph are quantized, and which take another's scale: the plan for a quantizer.

The rules are those of onnxruntime's QDQ quantizer (1.31), read in one pass over indexes of the
graph: its own search all nodes and initializers at every step, which is quadratic. No numbers are
computed here and no graph is changed.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import onnx
from onnx import numpy_helper

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.samples.arrays import Array

ActivationType = Literal["uint8", "int8"]

WEIGHTED: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm")
# Operators whose output has no values that their input has not: it takes the input's scale.
DIRECT: Final = frozenset(
    {"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "MaxPool", "AveragePool",
     "Slice"}
)  # fmt: skip
# Operators whose outputs hold their input's values, and so have its range where none was measured.
FOLLOWING: Final = DIRECT | {"Split", "Pad"}
# Activations that a quantized output's zero point and range can stand for.
REMOVABLE: Final = frozenset({"Relu", "Clip"})
# Operators of which every float input and output is quantized with a scale of its own.
PLAIN: Final = frozenset(
    {"Add", "Mul", "Sub", "Concat", "LeakyRelu", "Sigmoid", "Softmax", "GlobalAveragePool"}
)


@dataclass(frozen=True)
class Scheme:
    """How a model is quantized.

    `activation` as uint8 is asymmetric; as int8 it is symmetric, which GPUs and ARM want. Weights
    are int8 and symmetric; `reduce_range` gives them 7 bits, for processors whose 8-bit products
    saturate. Nodes of `float_nodes` stay as they are.
    """

    op_types: tuple[str, ...]
    per_channel: bool = True
    activation: ActivationType = "uint8"
    reduce_range: bool = False
    float_nodes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mark:
    """One tensor to quantize: with a scale of its own, or with that of the tensor `shares`."""

    kind: Literal["activation", "weight"] = "activation"
    axis: int | None = None
    shares: str | None = None


@dataclass(frozen=True)
class Bias:
    """A constant third input: int32 at the product of the input's and the weight's scale."""

    node: int
    name: str
    input: str
    weight: str
    factor: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What a quantizer has to do; nodes are named by their index in the graph."""

    tensors: Mapping[str, Mark]
    biases: tuple[Bias, ...]
    removed: frozenset[int] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict)
    """The producer's output that takes over the name of a removed Relu's or Clip's output."""

    @property
    def ranged(self) -> tuple[str, ...]:
        """The tensors whose ranges decide the scales; constants among them have their own."""
        return tuple(name for name, mark in self.tensors.items() if mark.shares is None)

    def source(self, name: str) -> str:
        """The tensor whose scale another one takes, itself where it has its own."""
        while (shares := self.tensors[name].shares) is not None:
            name = shares
        return name


@dataclass(frozen=True)
class GraphIndex:
    """A graph's tensors and nodes, each found in one step."""

    graph: onnx.GraphProto
    folder: Path
    constants: Mapping[str, onnx.TensorProto]
    types: Mapping[str, int]
    reads: Mapping[str, int]
    inputs: frozenset[str]
    outputs: frozenset[str]
    captured: frozenset[str]
    moved: Mapping[str, str]
    """The input whose values an output only rearranges, averages or picks from."""

    @classmethod
    def build(cls, graph: onnx.GraphProto, folder: Path = Path()) -> "GraphIndex":
        """Look at every node and value once; external data is in `folder`, and is not read yet."""
        values = (*graph.value_info, *graph.output, *graph.input)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        constants = {tensor.name: tensor for tensor in graph.initializer}
        types |= {name: tensor.data_type for name, tensor in constants.items()}
        return cls(
            graph=graph,
            folder=folder,
            constants=constants,
            types=types,
            reads=Counter(name for node in graph.node for name in node.input if name),
            inputs=frozenset(value.name for value in graph.input) - constants.keys(),
            outputs=frozenset(value.name for value in graph.output),
            captured=frozenset(_captured(graph)),
            moved={
                output: node.input[0]
                for node in graph.node
                if node.op_type in FOLLOWING
                for output in node.output
            },
        )

    def is_float(self, name: str) -> bool:
        """Whether a tensor is known to be float32."""
        return self.types.get(name) == onnx.TensorProto.FLOAT

    def values(self, name: str) -> Array:
        """A constant's values, read anew: a large model's weights are never in memory together."""
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self.constants[name])
        values: Array = numpy_helper.to_array(tensor, base_dir=str(self.folder))
        return values

    def constant_value(self, name: str) -> float | None:
        """The value of a constant scalar."""
        if name not in self.constants or math.prod(self.constants[name].dims) != 1:
            return None
        return float(self.values(name).reshape(-1)[0])


def plan_quantization(
    graph: onnx.GraphProto | GraphIndex, scheme: Scheme, *, ranged: Collection[str] | None = None
) -> Plan:
    """Walk the graph's nodes in order and mark what the scheme quantizes.

    Args:
        graph: Topologically sorted, of opset 13 or later, with inferred types in its value_info.
        scheme: What to quantize.
        ranged: Tensors whose ranges are known, where not all are.

    Raises:
        PrecisionFailed: for an operator that there is no rule for.
    """
    index = graph if isinstance(graph, GraphIndex) else GraphIndex.build(graph)
    marker = _Marker(index, scheme, ranged)
    for number, node in enumerate(index.graph.node):
        if is_quantized(node, scheme):
            marker.visit(number, node)
    return marker.plan()


def activations_to_measure(model: Path, scheme: Scheme) -> tuple[str, ...]:
    """The activations of a model's file whose ranges its quantizer reads; constants need none."""
    index = GraphIndex.build(onnx.load(model, load_external_data=False).graph)
    plan = plan_quantization(index, scheme)
    return tuple(name for name in plan.ranged if name not in index.constants)


def is_quantized(node: onnx.NodeProto, scheme: Scheme) -> bool:
    """Whether the scheme applies to a node."""
    return node.op_type in scheme.op_types and node.name not in scheme.float_nodes


class _Marker:
    def __init__(self, index: GraphIndex, scheme: Scheme, ranged: Collection[str] | None) -> None:
        self.index = index
        self.scheme = scheme
        self.ranged = ranged
        self.tensors: dict[str, Mark] = {}
        self.biases: list[Bias] = []
        self.removed: set[int] = set()
        self.renamed: dict[str, str] = {}
        self._produced: dict[str, str] = {}

    def visit(self, number: int, node: onnx.NodeProto) -> None:
        rule = _RULES.get(node.op_type)
        if rule is None:
            raise PrecisionFailed(f"there is no rule for quantizing {node.op_type}")
        rule(self, number, node)

    def plan(self) -> Plan:
        kept: dict[str, Mark] = {}
        for name, mark in self.tensors.items():
            source = self.tensors.get(mark.shares) if mark.shares is not None else None
            if mark.shares is None or (source is not None and source.axis is None):
                kept[name] = mark
        return Plan(kept, tuple(self.biases), frozenset(self.removed), dict(self.renamed))

    def activation(self, name: str) -> None:
        if self.index.is_float(name) and name not in self.tensors:
            self.tensors[name] = Mark()

    def same_scale(self, output: str, source: str) -> None:
        if self.index.is_float(output) and output not in self.index.constants:
            self.tensors[output] = Mark(shares=source)

    def weight(self, name: str, axis: int) -> None:
        tensor = self.index.constants.get(name)
        if tensor is None or not self.index.is_float(name):
            self.activation(name)
        elif self.scheme.per_channel and axis < len(tensor.dims):
            self.tensors[name] = Mark("weight", axis)
        elif name not in self.tensors:
            self.tensors[name] = Mark("weight")

    def bias(self, number: int, node: onnx.NodeProto, *, factor: float = 1.0) -> None:
        third = 2
        if len(node.input) <= third:
            return
        name = node.input[third]
        if name in self.index.constants and self.index.is_float(name):
            self.biases.append(Bias(number, name, node.input[0], node.input[1], factor))

    def may_replace(self, upstream: str, output: str) -> bool:
        """Whether a Relu or Clip can go: its output's zero point clamps as it does."""
        return (
            self.scheme.activation == "uint8"
            and (self.ranged is None or output in self.ranged)
            and self.index.reads[upstream] == 1
            and upstream not in self.index.outputs | self.index.inputs | self.index.captured
        )

    def replace(self, number: int, upstream: str, output: str) -> None:
        self.removed.add(number)
        produced = self._produced.pop(upstream, upstream)
        self._produced[output] = produced
        self.renamed[produced] = output
        self.tensors.pop(upstream, None)


def _weighted(marker: _Marker, number: int, node: onnx.NodeProto) -> None:
    axis = 1 if node.op_type == "ConvTranspose" else 0
    factor = 1.0
    if node.op_type == "Gemm":
        axis = 0 if _attribute(node, "transB", 0) else 1
        factor = float(_attribute(node, "beta", 1.0))
    marker.activation(node.input[0])
    marker.activation(node.output[0])
    marker.weight(node.input[1], axis)
    marker.bias(number, node, factor=factor)


def _matmul(marker: _Marker, number: int, node: onnx.NodeProto) -> None:  # noqa: ARG001 - a rule's signature
    for name in (*node.input, *node.output):
        marker.weight(name, 1)


def _removable(marker: _Marker, number: int, node: onnx.NodeProto) -> None:
    upstream, output = node.input[0], node.output[0]
    if upstream not in marker.tensors:
        return
    if marker.may_replace(upstream, output) and _clamps_around_zero(marker.index, node):
        marker.replace(number, upstream, output)
    marker.activation(output)


def _clamps_around_zero(index: GraphIndex, node: onnx.NodeProto) -> bool:
    """A quantized range always holds zero, so a Clip that leaves zero out has to stay."""
    if node.op_type == "Relu":
        return True
    low, high = [*node.input[1:], "", ""][:2]
    floor = index.constant_value(low) if low else -math.inf
    ceiling = index.constant_value(high) if high else math.inf
    return floor is not None and ceiling is not None and floor <= 0 <= ceiling


def _direct(marker: _Marker, number: int, node: onnx.NodeProto) -> None:  # noqa: ARG001
    if node.input[0] in marker.tensors:
        marker.same_scale(node.output[0], node.input[0])


def _split(marker: _Marker, number: int, node: onnx.NodeProto) -> None:  # noqa: ARG001
    marker.activation(node.input[0])
    for name in node.output:
        marker.same_scale(name, node.input[0])


def _pad(marker: _Marker, number: int, node: onnx.NodeProto) -> None:  # noqa: ARG001
    for name in node.input:
        marker.activation(name)
    if _pads_with_known_values(marker.index, node):
        marker.same_scale(node.output[0], node.input[0])
    else:
        marker.activation(node.output[0])


def _pads_with_known_values(index: GraphIndex, node: onnx.NodeProto) -> bool:
    third = 2
    if _attribute(node, "mode", b"constant") != b"constant":
        return True
    if len(node.input) <= third or not node.input[third]:
        return True
    return index.constant_value(node.input[third]) == 0


def _plain(marker: _Marker, number: int, node: onnx.NodeProto) -> None:  # noqa: ARG001
    for name in (*node.input, *node.output):
        marker.activation(name)


_Rule = Callable[[_Marker, int, onnx.NodeProto], None]
_RULES: Final[Mapping[str, _Rule]] = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Gemm"), _weighted),
    "MatMul": _matmul,
    **dict.fromkeys(REMOVABLE, _removable),
    **dict.fromkeys(DIRECT, _direct),
    "Split": _split,
    "Pad": _pad,
    **dict.fromkeys(PLAIN, _plain),
}


SUPPORTED: Final = frozenset(_RULES)


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:  # noqa: ANN401 - any type that ONNX has
    found = (attribute for attribute in node.attribute if attribute.name == name)
    attribute = next(found, None)
    return default if attribute is None else onnx.helper.get_attribute_value(attribute)


def _captured(graph: onnx.GraphProto) -> Iterator[str]:
    """Names that control flow inside the graph reads; some are its own, which does no harm."""
    for inner in graphs.walk_graphs(graph):
        if inner is not graph:
            yield from (value.name for value in inner.output)
            for node in inner.node:
                yield from node.input
