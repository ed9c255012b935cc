"""A model made ready for onnxruntime's quantizers: shapes inferred, constants folded, nodes named.

The original file is never touched.
"""

import logging
from pathlib import Path
from typing import Final

import onnx
import onnx.version_converter

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs

logger = logging.getLogger(__name__)

# DequantizeLinear has an axis, and so per-channel scales, from this opset on.
MIN_OPSET: Final = 13


def preprocess(model: onnx.ModelProto, work: Path) -> Path:
    """Write the prepared model into `work` and return its path; `model` is used up.

    onnxruntime's basic optimizations run (folding, batch normalization into convolutions), then
    ONNX shape inference. Symbolic inference is the fallback for types that remain unknown; where
    it fails, as it does at the first operator that it does not know, its work is left out.

    Raises:
        PrecisionFailed: when onnxruntime's preparation fails on this model.
    """
    cleaned = work / "cleaned.onnx"
    graphs.save_model(_clean(model), cleaned)
    prepared = work / "prepared.onnx"
    _prepare(cleaned, prepared, symbolic=False)
    if _untyped(prepared):
        try:
            _prepare(cleaned, work / "symbolic.onnx", symbolic=True)
        except PrecisionFailed as error:
            logger.info("symbolic shape inference is left out: %s", error)
        else:
            prepared = work / "symbolic.onnx"
    _name_and_flatten(prepared)
    return prepared


def _clean(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what trips the quantizers; not a copy, which protobuf refuses over 2 GB.

    The dynamo exporter writes value_info for initializers; quantize_dynamic transposes Gemm
    weights and then fails in strict shape inference (onnxruntime 1.31: "Inferred shape and
    existing shape differ"). `tidy` drops all value_info, and inference makes it again.
    """
    opset = next((o.version for o in model.opset_import if o.domain in graphs.DEFAULT_DOMAINS), 0)
    if opset < MIN_OPSET:
        try:
            model = onnx.version_converter.convert_version(model, MIN_OPSET)
        except Exception as error:  # the converter's C++ errors have no common class
            raise PrecisionFailed(
                f"INT8 needs opset {MIN_OPSET}; this model has {opset} and cannot be raised: "
                f"{error}. Export it with a newer opset"
            ) from error
    graphs.tidy(model)
    return model


def _name_and_flatten(path: Path) -> None:
    """Name the nodes that optimization left without, and make Gemm biases (1, N) the equal (N,).

    skl2onnx's MatMul and Add become such a Gemm, and a bias has one value for each scale.
    """
    model = onnx.load(path, load_external_data=False)
    graphs.name_nodes(model)
    biases: set[str] = set()
    others: set[str] = set()
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            (biases if (node.op_type, place) == ("Gemm", 2) else others).add(name)
    for tensor in model.graph.initializer:
        if tensor.name in biases - others and _is_row(tensor):
            del tensor.dims[0]
    kept = [value for value in model.graph.value_info if value.name not in biases]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    onnx.save(model, path)


def _is_row(tensor: onnx.TensorProto) -> bool:
    rank, first = len(tensor.dims), next(iter(tensor.dims), 0)
    return rank == 2 and first == 1  # noqa: PLR2004 - a matrix of one row


def _prepare(source: Path, target: Path, *, symbolic: bool) -> None:
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = (source.parent / (source.name + graphs.DATA_SUFFIX)).exists()
    try:
        quant_pre_process(
            str(source),
            str(target),
            skip_symbolic_shape=not symbolic,
            save_as_external_data=large,
            all_tensors_to_one_file=True,
            external_data_location=target.name + graphs.DATA_SUFFIX if large else None,
        )
    except Exception as error:  # anything from an unknown operator to a missing sympy
        raise PrecisionFailed(
            f"onnxruntime's preparation for INT8 fails on this model: {error}"
        ) from error


def _untyped(prepared: Path) -> list[str]:
    """Outputs of nodes whose element type inference could not find."""
    graph = onnx.load(prepared, load_external_data=False).graph
    typed = {
        value.name
        for value in (*graph.value_info, *graph.output, *graph.input)
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type
    }
    return [name for node in graph.node for name in node.output if name and name not in typed]
