"""fp16: half precision weights and activations.

For GPUs: onnxruntime's CPU provider computes it in float32 with casts, no faster, and so hides
overflow. That a finite answer on the CPU proves nothing is why weights are audited here.
"""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.finishing import finish, skip, tools, workplace
from slipway.precisions.transposes import move_transposes_behind_matmul
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.samples.arrays import Array
from slipway.specs import Fp16Spec

LARGEST: Final = float(np.finfo(np.float16).max)
SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
# finfo(float32).min and the like stand for infinity in attention masks; -65504 does as well.
STAND_IN: Final = 1e38
QUANTIZED: Final = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Make float32 weights and activations float16; inputs and outputs stay where asked.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        PrecisionFailed: when weights do not fit, or the conversion gives an unusable model.
    """
    options = request.options
    keep_io = options.keep_io_types if isinstance(options, Fp16Spec) else True
    model = graphs.load_model(request.model)
    if reason := inapplicable(model):
        return skip(reason)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    if too_large := weights_beyond(model):
        raise PrecisionFailed(
            f"weights beyond {LARGEST:g} do not fit float16: {'; '.join(too_large)}. Rescale them "
            "or leave fp16 out"
        )
    settings = {"keep_io_types": keep_io, "flushed_weights": count_flushed(model)}
    with workplace(scratch) as work:
        converted = _convert(model, work, keep_io=keep_io)
    path = finish(converted, scratch)
    return ConvertResult(status="passed", model=path, settings=settings, tools=tools())


def inapplicable(model: onnx.ModelProto) -> str | None:
    """Why fp16 does not apply here, or None."""
    learners = sorted({n.op_type for n in graphs.walk_nodes(model) if n.domain == "ai.onnx.ml"})
    if learners:
        return f"{', '.join(learners)} of ai.onnx.ml compute in float32; fp16 has no kernels"
    found = graphs.operators(model)
    if found & QUANTIZED:
        return "the model is quantized already"
    holds = {tensor.data_type for _, tensor in graphs.constants(model.graph)}
    holds |= {value.type.tensor_type.elem_type for value in model.graph.input}
    if onnx.TensorProto.FLOAT not in holds:
        return "the model has no float32 weights or inputs"
    return None


def weights_beyond(model: onnx.ModelProto) -> list[str]:
    """The finite constants that float16 cannot hold, with their largest magnitude."""
    found = []
    for name, values in _float_constants(model):
        magnitude = np.abs(values[np.isfinite(values)])
        beyond = magnitude[(magnitude > LARGEST) & (magnitude < STAND_IN)]
        if beyond.size:
            found.append(f"{name} reaches {float(beyond.max()):g}")
        elif np.isnan(values).any():
            found.append(f"{name} holds NaN")
    return found


def count_flushed(model: onnx.ModelProto) -> int:
    """How many constants other than zero are below float16's smallest number."""
    return sum(
        int(((values != 0) & (np.abs(values) < SMALLEST)).sum())
        for _, values in _float_constants(model)
    )


def _float_constants(model: onnx.ModelProto) -> list[tuple[str, Array]]:
    return [
        (name, numpy_helper.to_array(tensor))
        for name, tensor in graphs.constants(model.graph)
        if tensor.data_type == onnx.TensorProto.FLOAT
    ]


def _convert(model: onnx.ModelProto, work: Path, *, keep_io: bool) -> onnx.ModelProto:
    """Convert with types inferred by path, since a model over 2 GB is no single protobuf.

    onnxruntime's converter (1.31) appends casts at the graph's end and names nodes twice; `finish`
    sorts and renames. Its older sibling in onnxconverter-common clamps weights to 1e4.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    move_transposes_behind_matmul(model.graph)
    cleaned, inferred = work / "cleaned.onnx", work / "inferred.onnx"
    graphs.tidy(model)
    graphs.save_model(model, cleaned)
    try:
        onnx.shape_inference.infer_shapes_path(cleaned, inferred)
        converted: onnx.ModelProto = convert_float_to_float16(
            graphs.load_model(inferred), keep_io_types=keep_io, disable_shape_infer=True
        )
    except Exception as error:  # the converter asserts and raises whatever its helpers do
        raise PrecisionFailed(f"the float16 converter fails on this model: {error}") from error
    _drop_repeated_casts(converted.graph)
    return converted


def _drop_repeated_casts(graph: onnx.GraphProto) -> None:
    """Keep one of the equal casts that onnxruntime's converter (1.31) adds for every reader."""
    kept: dict[str, onnx.NodeProto] = {}
    repeated = []
    for node in graph.node:
        if node.op_type == "Cast":
            first = kept.setdefault(node.output[0], node)
            if first is not node and list(first.input) == list(node.input):
                repeated.append(node)
    for node in repeated:
        graph.node.remove(node)
