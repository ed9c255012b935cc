"""int4-weights: four-bit weights in blocks, each with its scale; activations stay float32.

For models whose weights dominate, as language models' do: what is read from memory shrinks to about
a sixth. No data is needed. Here is which weights are packed; the nodes that read them are made in
`int4_nodes`.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from slipway.precisions import graphs
from slipway.precisions.finishing import finish, skip, tools, workplace
from slipway.precisions.int4_nodes import (
    MATRIX_RANK,
    Weight,
    distinct,
    integer_attribute,
    pack_weights,
)
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.specs import Int4WeightsSpec


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
    packable = sum(_size(weight.tensor) for weight in distinct(found))
    if reason := _inapplicable(packable, before, options):
        return skip(reason)
    with workplace(scratch):
        pack_weights(model, found, options)
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
            "packed_weights": len(distinct(found)),
            "packed_share": round(packable / before, 3),
            "weight_bytes": after,
            "weight_bytes_before": before,
        },
        tools=tools(),
    )


def _weights(graph: onnx.GraphProto, options: Int4WeightsSpec) -> Iterator[Weight]:
    """Weights of the main graph whose every reader can take them packed."""
    constants = {
        t.name: t
        for t in graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == MATRIX_RANK
    }
    found: dict[str, list[Weight]] = {}
    others = {value.name for value in graph.output}
    for inner in graphs.walk_graphs(graph):
        for node in inner.node:
            place = _place(node) if inner is graph else None
            for position, name in enumerate(node.input):
                if name not in constants:
                    continue
                weight = Weight(node, constants[name])
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
    if node.op_type == "Gemm" and (integer_attribute(node, "transA", 0) or _scaled(node, "alpha")):
        return None
    if node.op_type == "Gemm" and _scaled(node, "beta"):
        return None
    return {"MatMul": 1, "Gemm": 1, "Gather": 0}.get(node.op_type)


def _fits(weight: Weight, options: Int4WeightsSpec) -> bool:
    rows, columns = weight.tensor.dims
    if weight.is_embedding:
        axis = integer_attribute(weight.node, "axis", 0)
        return options.embeddings and axis == 0 and columns >= options.block_size
    depth = columns if weight.transposed else rows
    return depth >= options.block_size


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


def _size(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's numbers, four-bit ones by halves."""
    count = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type in {onnx.TensorProto.INT4, onnx.TensorProto.UINT4}:
        return -(-count // 2)
    if tensor.data_type == onnx.TensorProto.STRING:
        return sum(len(text) for text in tensor.string_data)
    return count * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _scaled(node: onnx.NodeProto, name: str) -> bool:
    return any(a.name == name and a.f != 1.0 for a in node.attribute)
