"""QuantizeLinear and DequantizeLinear put around what a plan marks, in one pass over the graph.

Names, scales and zero points are those of onnxruntime's QDQ quantizer (1.31), whose time grows with
the square of the nodes. Ours differs where that one is wrong: a Gemm's `beta` is kept, a Clip that
leaves out zero stays, and what control flow captures is left to it.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from slipway.errors import PrecisionFailed
from slipway.precisions.audit import Ranges
from slipway.precisions.marking import (
    Bias,
    GraphIndex,
    Plan,
    Scheme,
    is_quantized,
    plan_quantization,
)
from slipway.precisions.scales import (
    Floats,
    Quantization,
    activation_quantization,
    constant_quantization,
    quantize,
    quantize_bias,
    weight_quantization,
    widen_for_bias,
)
from slipway.samples.arrays import Array


def quantize_file(path: Path, ranges: Ranges, scheme: Scheme) -> onnx.ModelProto:
    """Quantize a model's file; a large one's weights are read one by one.

    Args:
        path: A model of opset 13 or later, its nodes sorted and named, types inferred in its
            value_info.
        ranges: The range of every activation that `plan_quantization` marks.
        scheme: What to quantize, and how.

    Raises:
        PrecisionFailed: when a marked tensor has no range, or an operator no rule.
    """
    model = onnx.load(path, load_external_data=False)
    index = GraphIndex.build(model.graph, path.parent)
    plan = plan_quantization(index, scheme, ranged=ranges.keys())
    scales = choose_scales(index, plan, ranges, scheme)
    return Inserter(index, plan, scales).run(model)


def choose_scales(
    index: GraphIndex, plan: Plan, ranges: Ranges, scheme: Scheme
) -> dict[str, Quantization]:
    """Scale and zero point of every tensor of the plan.

    Raises:
        PrecisionFailed: when a marked activation has no range.
    """
    adjusted = adjust_ranges(index, ranges, scheme)
    found: dict[str, Quantization] = {}
    for name in plan.ranged:
        if name in index.constants:
            found[name] = _of_constant(index, plan, name, scheme)
        else:
            found[name] = activation_scale(index, name, adjusted, scheme)
    for name in plan.tensors:
        found[name] = found[plan.source(name)]
    for bias in plan.biases:
        if fits_bias(index, found, bias) and bias.weight in index.constants:
            found[bias.weight] = widen_for_bias(
                found[bias.weight],
                input_scale=found[bias.input].scale,
                bias=bias_values(index, bias),
            )
    return found


def activation_scale(index: GraphIndex, name: str, ranges: Ranges, scheme: Scheme) -> Quantization:
    """Scale and zero point of an activation.

    One that only moves another's values, and was not measured for that, has the other's range.

    Raises:
        PrecisionFailed: when no range is known.
    """
    measured = name
    while measured not in ranges:
        if measured not in index.moved:
            raise PrecisionFailed(f"the range of activation {name} was not measured")
        measured = index.moved[measured]
    low, high = ranges[measured]
    return activation_quantization(low, high, symmetric=scheme.activation == "int8")


def adjust_ranges(index: GraphIndex, ranges: Ranges, scheme: Scheme) -> Ranges:
    """Ranges of what only a Relu or Clip reads are those of its output; Softmax gives 0 to 1."""
    adjusted = dict(ranges)
    for node in index.graph.node:
        if not is_quantized(node, scheme):
            continue
        source, target = node.input[0], node.output[0]
        if node.op_type == "Softmax":
            adjusted[target] = (0.0, 1.0)
        elif (
            node.op_type in {"Relu", "Clip"}
            and index.reads[source] == 1
            and {source, target} <= adjusted.keys()
        ):
            adjusted[source] = adjusted[target]
    return adjusted


def fits_bias(index: GraphIndex, scales: Mapping[str, Quantization], bias: Bias) -> bool:
    """Whether a bias has one value for each scale of its weight, and both scales are known."""
    if bias.input not in scales or bias.weight not in scales or bias.name in scales:
        return False
    weight = scales[bias.weight].scale
    return weight.ndim == 0 or list(index.constants[bias.name].dims) == [weight.size]


def bias_values(index: GraphIndex, bias: Bias) -> Array:
    """A bias as it is added, with its Gemm's `beta` in it."""
    values = index.values(bias.name)
    return values if bias.factor == 1.0 else values * np.float32(bias.factor)


def _of_constant(index: GraphIndex, plan: Plan, name: str, scheme: Scheme) -> Quantization:
    mark = plan.tensors[name]
    if mark.kind == "weight":
        return weight_quantization(index.values(name), mark.axis, reduce_range=scheme.reduce_range)
    return constant_quantization(
        index.values(name),
        symmetric=scheme.activation == "int8",
        reduce_range=scheme.reduce_range,
    )


@dataclass
class Inserter:
    """Writes the quantized graph: the old nodes with their ends renamed, and the new ones."""

    index: GraphIndex
    plan: Plan
    scales: Mapping[str, Quantization]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    reads: dict[str, str] = field(default_factory=dict)
    """What nodes read in place of a tensor."""
    writes: dict[str, str] = field(default_factory=dict)
    """What nodes write in place of a tensor."""

    def run(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """The quantized model; `model` gives what is around the graph."""
        for name in self.plan.tensors:
            if name in self.index.outputs and name not in self.index.inputs:
                self.writes[name] = f"{name}_QuantizeLinear_Input"
            else:
                self.reads[name] = f"{name}_DequantizeLinear_Output"
        for old, new in self.plan.renamed.items():
            self.writes[old] = self.writes.get(new, new)
        for name in self.plan.tensors:
            if name in self.index.constants:
                self._dequantize_constant(name)
            elif name in self.index.inputs:
                self._quantize_activation(name)
        biases = dict(map(self._dequantize_bias, self._integer_biases()))
        for number, node in enumerate(self.index.graph.node):
            if number not in self.plan.removed:
                self._keep(node, biases.get(number))
        return self._assemble(model)

    def _integer_biases(self) -> list[Bias]:
        return [bias for bias in self.plan.biases if fits_bias(self.index, self.scales, bias)]

    def _keep(self, node: onnx.NodeProto, bias: str | None) -> None:
        """Copy a node with its ends renamed, and quantize what it writes."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for place, name in enumerate(node.input):
            copy.input[place] = self.reads.get(name, name)
        if bias is not None:
            copy.input[2] = bias
            for attribute in copy.attribute:
                if attribute.name == "beta":
                    attribute.f = 1.0
        for place, name in enumerate(node.output):
            copy.output[place] = self.writes.get(name, name)
        self.nodes.append(copy)
        for name in node.output:
            written = self.plan.renamed.get(name, name)
            if written in self.plan.tensors:
                self._quantize_activation(written)

    def _quantize_activation(self, name: str) -> None:
        parameters = self.parameters(self.source(name))
        integers = f"{name}_QuantizeLinear_Output"
        written, read = self.writes.get(name, name), self.reads.get(name, name)
        self._add("QuantizeLinear", name, [written, *parameters], integers)
        self.dequantize(name, [integers, *parameters], read)

    def _dequantize_constant(self, name: str) -> None:
        by = self.scales[name]
        integers = self.store(f"{name}_quantized", quantize(self.index.values(name), by))
        parameters = self.parameters(name)
        self.dequantize(name, [integers, *parameters], self.reads[name], by.axis)

    def _dequantize_bias(self, bias: Bias) -> tuple[int, str]:
        """Store a bias as int32; the number of its node and the name that this reads."""
        name = self._own_name(bias.name)
        weight = self.scales[bias.weight]
        integers, scale = quantize_bias(
            bias_values(self.index, bias),
            input_scale=self.scales[bias.input].scale,
            weight_scale=weight.scale,
        )
        stem = f"{name}_quantized"
        parts = [
            self.store(stem, integers),
            self.store(f"{stem}_scale", scale),
            self.store(f"{stem}_zero_point", np.zeros(scale.shape, np.int32)),
        ]
        target = f"{name}_DequantizeLinear_Output"
        self.dequantize_bias(bias.node, name, parts, target)
        return bias.node, target

    def _own_name(self, bias: str) -> str:
        """The bias's name, or a copy's where another node has used it at other scales."""
        names = itertools.chain([bias], (f"{bias}{number}" for number in itertools.count()))
        return next(name for name in names if f"{name}_quantized" not in self.constants)

    def parameters(self, name: str) -> list[str]:
        """Names of a tensor's scale and zero point, stored at their first use."""
        by = self.scales[name]
        named = {f"{name}_scale": by.scale, f"{name}_zero_point": by.zero_point}
        return [self.store(stored, values) for stored, values in named.items()]

    def store(self, name: str, values: Array | Floats) -> str:
        """Add a constant, once; its name."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def source(self, name: str) -> str:
        """The tensor whose scale and zero point an activation is rounded with."""
        return self.plan.source(name)

    def dequantize(
        self, name: str, inputs: list[str], output: str, axis: int | None = None
    ) -> None:
        """Give floats for integers under the name that nodes read."""
        self._add("DequantizeLinear", name, inputs, output, axis)

    def dequantize_bias(self, number: int, name: str, inputs: list[str], output: str) -> None:  # noqa: ARG002 - a subclass needs the number
        """The same for the bias of a node."""
        self.dequantize(name, inputs, output, 0 if self.constants[inputs[1]].dims else None)

    def _add(
        self, operator: str, name: str, inputs: list[str], output: str, axis: int | None = None
    ) -> None:
        node = onnx.helper.make_node(operator, inputs, [output], f"{name}_{operator}", axis=axis)
        self.nodes.append(node)

    def _assemble(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A new model, so that the memory of what has gone can go."""
        result = onnx.ModelProto()
        for part, source in ((result, model), (result.graph, model.graph)):
            for descriptor, value in source.ListFields():
                if descriptor.name not in {"graph", "node", "initializer", "value_info"}:
                    _copy_field(part, descriptor.name, value)
        result.graph.node.extend(self.nodes)
        needed = {name for node in self.nodes for name in node.input}
        needed |= self.index.captured | self.index.outputs
        for name, tensor in self.index.constants.items():
            if name in needed:
                kept = result.graph.initializer.add()
                kept.CopyFrom(tensor)
                if uses_external_data(kept):
                    load_external_data_for_tensor(kept, str(self.index.folder))
        result.graph.initializer.extend(self.constants.values())
        return result


def _copy_field(target: onnx.ModelProto | onnx.GraphProto, name: str, value: object) -> None:
    if isinstance(value, str | int):
        setattr(target, name, value)
    else:
        getattr(target, name).extend(value)
