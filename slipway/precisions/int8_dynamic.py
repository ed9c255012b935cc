"""int8-dynamic: INT8 weights of MatMul and Gemm; activation ranges are found at run time.

Never Conv: dynamically quantized it is five to ten times slower than float32 on CPUs.
"""

from pathlib import Path
from typing import Final

import onnx

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.audit import audit_weights
from slipway.precisions.finishing import Settings, conclude, finish, refuse, skip, workplace
from slipway.precisions.preprocess import preprocess
from slipway.precisions.saturation import needed_entries, saturation_advice
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.recommended import X64_PRECISION, recommended_entries
from slipway.reports import ScaleAudit
from slipway.specs import Int8DynamicSpec

# The quantizer turns Gemm into MatMul and Add first. Its rewriting of `Attention` makes an
# invalid graph (onnxruntime 1.31).
OP_TYPES: Final = ("MatMul", "Gemm")


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Quantize the constant weights of MatMul and Gemm to signed INT8.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        PrecisionFailed: when onnxruntime's quantizer fails on it.
    """
    options = request.options
    per_channel = options.per_channel if isinstance(options, Int8DynamicSpec) else True
    settings: Settings = {
        "weight_type": "QInt8",
        "activation_type": "QUInt8",
        "per_channel": per_channel,
        "op_types": ", ".join(OP_TYPES),
    }
    model = graphs.load_model(request.model)
    if reason := inapplicable(model):
        return skip(reason)
    if findings := audit_weights(model):
        return refuse(
            ScaleAudit(passed=False, tensors=len(findings), findings=findings), settings=settings
        )
    with workplace(scratch) as work:
        quantized = work / "quantized.onnx"
        _quantize(preprocess(model, work), quantized, per_channel=per_channel)
        result = graphs.load_model(quantized)
    if "MatMulInteger" not in graphs.operators(result):
        return skip("no MatMul or Gemm has a constant float32 weight to make INT8")
    path = finish(result, scratch, metadata=needed_entries(result, {X64_PRECISION: "1"}))
    told, advice = saturation_advice(result, recommended_entries(path))
    return conclude(path, settings={**settings, **told}, findings=advice)


def inapplicable(model: onnx.ModelProto) -> str | None:
    """Why dynamic INT8 has nothing to do here, or None."""
    found = graphs.operators(model)
    if not found.intersection(OP_TYPES):
        return (
            "the model has no MatMul or Gemm, and dynamic INT8 of other operators is slower than "
            "float32"
        )
    if found & {"QuantizeLinear", "DequantizeLinear", "MatMulInteger"}:
        return "the model is quantized already"
    return None


def _quantize(source: Path, target: Path, *, per_channel: bool) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = (source.parent / (source.name + graphs.DATA_SUFFIX)).exists()
    try:
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=list(OP_TYPES),
            per_channel=per_channel,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    except Exception as error:  # the quantizer raises whatever its helpers do
        raise PrecisionFailed(
            f"onnxruntime's dynamic quantizer fails on this model: {error}"
        ) from error
