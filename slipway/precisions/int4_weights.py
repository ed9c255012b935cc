"""int4-weights: four-bit weights in blocks, each with its scale; activations stay float32.

For models whose weights dominate, as language models' do: what is read from memory shrinks to about
a sixth. No data is needed. MatMul and Gemm become onnxruntime's MatMulNBits, embeddings its
GatherBlockQuantized.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.finishing import finish, skip, tools, workplace
from slipway.precisions.int4_packing import Packed, pack_rows
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.samples.arrays import Array
from slipway.specs import Int4WeightsSpec

DOMAIN: Final = "com.microsoft"
MATRIX_RANK: Final = 2
INT4_IR: Final = 10
"""The IR version from which a tensor can be INT4."""


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Quantize constant weights of MatMul, Gemm and Gather to four bits in blocks.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        PrecisionFailed: when a weight is not finite, or the result is unusable.
    """
    options = request.options if isinstance(request.options, Int4WeightsSpec) else Int4WeightsSpec()
    model = graphs.load_model(request.model)
    found = list(_weights(model.graph, options))
    before = sum(_size(t) for _, t in graphs.constants(model.graph))
    packable = sum(_size(weight.tensor) for weight in _distinct(found))
    if reason := _inapplicable(packable, before, options):
        return skip(reason)
    with workplace(scratch):
        _Packing(model.graph, options).run(found)
        model.ir_version = max(model.ir_version, INT4_IR)
        if not any(opset.domain == DOMAIN for opset in model.opset_import):
            model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    after = sum(_size(t) for t in model.graph.initializer)
    path = finish(model, scratch)
    return ConvertResult(
        status="passed",
        model=path,
        settings={
            "block_size": options.block_size,
            "symmetric": options.symmetric,
            "embeddings": options.embeddings,
            "int8_products": options.int8_products,
            "packed_weights": len(_distinct(found)),
            "packed_share": round(packable / before, 3),
            "weight_bytes": after,
            "weight_bytes_before": before,
        },
        tools=tools(),
    )


@dataclass(frozen=True)
class _Weight:
    """A constant that a node multiplies with or looks up in."""

    node: onnx.NodeProto
    tensor: onnx.TensorProto

    @property
    def is_embedding(self) -> bool:
        return self.node.op_type == "Gather"

    @property
    def transposed(self) -> bool:
        """Whether its rows are the output's columns already, as a Gemm's may be."""
        return self.node.op_type == "Gemm" and bool(_attribute(self.node, "transB", 0))


def _weights(graph: onnx.GraphProto, options: Int4WeightsSpec) -> Iterator[_Weight]:
    """Weights of the main graph whose every reader can take them packed."""
    constants = {
        t.name: t
        for t in graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == MATRIX_RANK
    }
    found: dict[str, list[_Weight]] = {}
    others = {value.name for value in graph.output}
    for inner in graphs.walk_graphs(graph):
        for node in inner.node:
            place = _place(node) if inner is graph else None
            for position, name in enumerate(node.input):
                if name not in constants:
                    continue
                weight = _Weight(node, constants[name])
                if position == place and _fits(weight, options):
                    found.setdefault(name, []).append(weight)
                else:
                    others.add(name)
    for name, weights in found.items():
        if name not in others:
            yield from weights


def _place(node: onnx.NodeProto) -> int | None:
    """The input that may be packed."""
    if node.domain not in graphs.DEFAULT_DOMAINS:
        return None
    if node.op_type == "Gemm" and (_attribute(node, "transA", 0) or _scaled(node, "alpha")):
        return None
    if node.op_type == "Gemm" and _scaled(node, "beta"):
        return None
    return {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)


def _fits(weight: _Weight, options: Int4WeightsSpec) -> bool:
    rows, columns = weight.tensor.dims
    if weight.is_embedding:
        axis = _attribute(weight.node, "axis", 0)
        return options.embeddings and axis == 0 and columns >= options.block_size
    depth = columns if weight.transposed else rows
    return depth >= options.block_size


def _distinct(found: list[_Weight]) -> list[_Weight]:
    return list({weight.tensor.name: weight for weight in found}.values())


def _inapplicable(packable: int, before: int, options: Int4WeightsSpec) -> str | None:
    if not packable:
        return (
            "no MatMul, Gemm or embedding has a constant float32 matrix of "
            f"{options.block_size} rows or more"
        )
    share = packable / before
    if share < options.smallest_share:
        return (
            f"matrices are {share:.0%} of the weights, less than smallest_share "
            f"({options.smallest_share:.0%}): the rest decides this model's size and speed"
        )
    return None


@dataclass(frozen=True)
class _Packing:
    graph: onnx.GraphProto
    options: Int4WeightsSpec

    def run(self, found: list[_Weight]) -> None:
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
        for weight in _distinct(found):
            self.graph.initializer.remove(weight.tensor)

    def pack(self, weight: _Weight) -> tuple[str, ...]:
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

    def gather(self, weight: _Weight, names: tuple[str, ...]) -> None:
        data, *rest = names
        node = weight.node
        inputs = [data, node.input[1], *rest]
        del node.input[:]
        node.input.extend(inputs)
        node.op_type, node.domain = "GatherBlockQuantized", DOMAIN
        _set_attributes(node, gather_axis=0, quantize_axis=1, block_size=self.options.block_size)

    def multiply(self, weight: _Weight, names: tuple[str, ...]) -> None:
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


def unpair(packed: Array) -> Array:
    """The numbers of bytes that hold two, in their order."""
    both = np.stack([packed & 0xF, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)


def _nibbles(levels: Array) -> bytes:
    flat = levels.reshape(-1)
    flat = np.pad(flat, (0, flat.size % 2))
    packed: bytes = (flat[0::2] | (flat[1::2] << 4)).astype(np.uint8).tobytes()
    return packed


def _size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's numbers, four-bit ones by halves."""
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type in {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}:
        return -(-count // 2)
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    return count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), default)


def _scaled(node: onnx.NodeProto, name: str) -> bool:
    return any(a.name == name and a.f != 1.0 for a in node.attribute)


def _set_attributes(node: onnx.NodeProto, **values: int) -> None:
    node.ClearField("attribute")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in values.items())
