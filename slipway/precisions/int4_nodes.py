"""Nodes that read four-bit weights, in place of those that read floats.

MatMul and Gemm become onnxruntime's MatMulNBits, embeddings its GatherBlockQuantized. Which weights
are packed is `int4_weights`' to say, how is `int4_packing`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.errors import PrecisionFailed
from slipway.precisions.int4_packing import Packed, pack_rows, unpair
from slipway.samples.arrays import Array
from slipway.specs import Int4WeightsSpec

DOMAIN: Final = "com.microsoft"
MATRIX_RANK: Final = 2
INT4_IR: Final = 10
"""The IR version from which a tensor can be INT4."""


@dataclass(frozen=True)
class Weight:
    """A constant that a node multiplies with or looks up in."""

    node: onnx.NodeProto
    tensor: onnx.TensorProto

    @property
    def is_embedding(self) -> bool:
        """Whether its rows are looked up."""
        return self.node.op_type == "Gather"

    @property
    def transposed(self) -> bool:
        """Whether its rows are the output's columns already, as a Gemm's may be."""
        return self.node.op_type == "Gemm" and bool(integer_attribute(self.node, "transB", 0))


def pack_weights(
    model: onnx.ModelProto, weights: Sequence[Weight], options: Int4WeightsSpec
) -> None:
    """In place: pack each weight once, and have its nodes read it packed.

    Raises:
        PrecisionFailed: when a weight is not finite.
    """
    _Packing(model.graph, options).run(weights)
    model.ir_version = max(model.ir_version, INT4_IR)
    if not any(opset.domain == DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, 1))


def distinct(weights: Sequence[Weight]) -> list[Weight]:
    """One for each tensor."""
    return list({weight.tensor.name: weight for weight in weights}.values())


@dataclass(frozen=True)
class _Packing:
    graph: onnx.GraphProto
    options: Int4WeightsSpec

    def run(self, found: Sequence[Weight]) -> None:
        """In place: pack each weight once, and have its nodes read it packed."""
        made: dict[tuple[str, bool, bool], tuple[str, ...]] = {}
        for weight in found:
            key = (weight.tensor.name, weight.transposed, weight.is_embedding)
            if key not in made:
                made[key] = self.pack(weight)
            if weight.is_embedding:
                self.gather(weight, made[key])
            else:
                self.multiply(weight, made[key])
        for weight in distinct(found):
            self.graph.initializer.remove(weight.tensor)

    def pack(self, weight: Weight) -> tuple[str, ...]:
        """Add the packed data, the scales and the zero points; their names."""
        values = numpy_helper.to_array(weight.tensor)
        if not np.isfinite(values).all():
            raise PrecisionFailed(f"{weight.tensor.name} holds values that are not finite")
        rows = values if weight.is_embedding or weight.transposed else values.T
        packed = pack_rows(
            rows, block_size=self.options.block_size, symmetric=self.options.symmetric
        )
        stem = weight.tensor.name + ("_int4_rows" if weight.is_embedding else "_int4")
        stem += "_t" if weight.transposed else ""
        if weight.is_embedding:
            return self.keep_table(stem, packed, rows.shape)
        arrays = {stem: packed.data, f"{stem}_scales": packed.scales}
        if packed.zero_points is not None:
            arrays[f"{stem}_zero_points"] = packed.zero_points
        for name, array in arrays.items():
            self.graph.initializer.append(numpy_helper.from_array(array, name))
        return tuple(arrays)

    def keep_table(self, stem: str, packed: Packed, shape: tuple[int, ...]) -> tuple[str, ...]:
        """An embedding's rows as an INT4 tensor of the table's own shape.

        Signed where symmetric: no zero points are needed then.
        """
        kind = onnx.TensorProto.INT4 if self.options.symmetric else onnx.TensorProto.UINT4
        levels = unpair(packed.data).reshape(shape[0], -1)[:, : shape[1]]
        if self.options.symmetric:
            levels = (levels.astype(np.int8) - 8).astype(np.uint8) & 0xF
        tensors = [
            helper.make_tensor(stem, kind, shape, _nibbles(levels), raw=True),
            numpy_helper.from_array(packed.scales, f"{stem}_scales"),
        ]
        if packed.zero_points is not None:
            blocks = packed.scales.shape[1]
            zeros = unpair(packed.zero_points)[:, :blocks]
            tensors.append(
                helper.make_tensor(
                    f"{stem}_zero_points", kind, packed.scales.shape, _nibbles(zeros), raw=True
                )
            )
        self.graph.initializer.extend(tensors)
        return tuple(tensor.name for tensor in tensors)

    def gather(self, weight: Weight, names: tuple[str, ...]) -> None:
        data, *rest = names
        node = weight.node
        inputs = [data, node.input[1], *rest]
        del node.input[:]
        node.input.extend(inputs)
        node.op_type, node.domain = "GatherBlockQuantized", DOMAIN
        _set_attributes(node, gather_axis=0, quantize_axis=1, block_size=self.options.block_size)

    def multiply(self, weight: Weight, names: tuple[str, ...]) -> None:
        node = weight.node
        depth, width = weight.tensor.dims[::-1] if weight.transposed else weight.tensor.dims
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > MATRIX_RANK else ""
        inputs = [node.input[0], *names]
        del node.input[:]
        node.input.extend(inputs)
        node.op_type, node.domain = "MatMulNBits", DOMAIN
        level = {"accuracy_level": 4} if self.options.int8_products else {}
        _set_attributes(node, K=depth, N=width, bits=4, block_size=self.options.block_size, **level)
        if bias:
            result = node.output[0]
            node.output[0] = f"{result}_without_bias"
            self.graph.node.append(helper.make_node("Add", [node.output[0], bias], [result]))


def _nibbles(levels: Array) -> bytes:
    flat = levels.reshape(-1)
    flat = np.pad(flat, (0, flat.size % 2))
    packed: bytes = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()
    return packed


def integer_attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """An integer attribute of a node, or the default."""
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _set_attributes(node: onnx.NodeProto, **values: int) -> None:
    node.ClearField("attribute")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
