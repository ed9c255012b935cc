"""int8-static: INT8 weights and activations in QDQ form, with ranges from calibration data.

Types and operators are the policy's: on x64 unsigned activations and signed weights, 2.4 times
faster than onnxruntime's default of signed for both.
"""

import shutil
from pathlib import Path

import onnx

from slipway.errors import DataError
from slipway.precisions import graphs
from slipway.precisions.audit import audit_ranges, audit_weights, warn_of_ranges
from slipway.precisions.budgeting import Candidates
from slipway.precisions.calibration import calibrate
from slipway.precisions.finishing import (
    Settings,
    conclude,
    finish,
    refuse,
    skip,
    tools,
    workplace,
)
from slipway.precisions.gating import audit_data, choose_samples
from slipway.precisions.judging import Judge
from slipway.precisions.marking import WEIGHTED, activations_to_measure
from slipway.precisions.masks import clamp_masks
from slipway.precisions.policy import choose_policy
from slipway.precisions.preprocess import preprocess
from slipway.precisions.qdq import quantize_file
from slipway.precisions.relay import STATE, tell_progress
from slipway.precisions.saturation import needed_entries, saturation_advice
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.recommended import recommended_entries
from slipway.reports import Attempt, Finding, ScaleAudit
from slipway.samples.arrays import Samples, map_samples
from slipway.specs import Int8StaticSpec


def convert(request: ConvertRequest, scratch: Path) -> ConvertResult:
    """Quantize with ranges from the calibration data.

    Raises:
        SourceNotFound, UnreadableModel: for the model.
        DataError: for calibration data that is missing, empty, not finite or does not fit.
        PrecisionFailed: when the model cannot be prepared for a quantizer.
    """
    options = request.options
    if not isinstance(options, Int8StaticSpec):
        options = Int8StaticSpec()
    if request.calibration is None:
        raise DataError("int8-static needs calibration data: inputs that the model will see")
    model = graphs.load_model(request.model)
    if reason := inapplicable(model):
        return skip(reason)
    given = map_samples(request.calibration)
    with workplace(scratch) as work:
        samples = choose_samples(model, given, count=options.samples, work=work)
        return _convert(model, samples, request, options, work=work, scratch=scratch)


def inapplicable(model: onnx.ModelProto) -> str | None:
    """Why static INT8 has nothing to do here, or None."""
    found = graphs.operators(model)
    if found & {"QuantizeLinear", "DequantizeLinear", "MatMulInteger"}:
        return "the model is quantized already"
    if not found.intersection(WEIGHTED):
        return f"the model has none of {', '.join(WEIGHTED)}, which INT8 would make faster"
    return None


def _convert(
    model: onnx.ModelProto,
    samples: Samples,
    request: ConvertRequest,
    options: Int8StaticSpec,
    *,
    work: Path,
    scratch: Path,
) -> ConvertResult:
    evaluation = request.judge.evaluation if request.judge is not None else None
    warnings = audit_data(samples, map_samples(evaluation) if evaluation else None)
    policy = choose_policy(model, options)
    scheme = policy.scheme
    settings: dict[str, str | int | float | bool] = {
        "target": options.target,
        "weight_type": "QInt8",
        "activation_type": "QUInt8" if scheme.activation == "uint8" else "QInt8",
        "per_channel": scheme.per_channel,
        "reduce_range": scheme.reduce_range,
        "method": options.method,
        **({"percentile": options.percentile} if options.method == "percentile" else {}),
        "samples": len(samples),
        "op_types": ", ".join(scheme.op_types),
        "format": "QDQ",
        "why": "; ".join(policy.reasons),
    }
    if errors := audit_weights(model):
        return _refuse((*errors, *warnings), len(errors), settings)
    prepared = preprocess(model, work)
    warnings += clamp_masks(prepared, samples)
    ranges = calibrate(
        prepared,
        samples,
        method=options.method,
        tensors=activations_to_measure(prepared, scheme),
        percentile=options.percentile,
        state=scratch / STATE,
        progress=tell_progress(scratch),
    )
    warnings += warn_of_ranges(ranges)
    if errors := audit_ranges(ranges):
        return _refuse((*errors, *warnings), len(ranges), settings)
    if request.judge is None:
        quantized = quantize_file(prepared, ranges, scheme)
        entries = needed_entries(quantized, policy.session)
        return _conclude(finish(quantized, scratch, metadata=entries), settings, warnings)
    judge = Judge.load(request.judge)
    candidates = Candidates(
        prepared,
        ranges,
        judge,
        samples,
        work,
        guard=policy.session,
        progress=tell_progress(scratch),
    )
    found = candidates.meet_budget(scheme)
    attempts = tuple(candidates.attempts)
    if found is None or candidates.model is None:
        return ConvertResult(
            status="failed",
            reason=over_budget(attempts),
            settings=dict(settings),
            tools=tools(),
            attempts=attempts,
        )
    path = scratch / "model" / "model.onnx"
    shutil.move(candidates.model.parent, path.parent)
    settings = {**settings, "per_channel": found.per_channel}
    if found.float_nodes:
        settings["float_nodes"] = ", ".join(sorted(found.float_nodes))
    result = _conclude(path, settings, warnings)
    return result.model_copy(update={"attempts": attempts})


def over_budget(attempts: tuple[Attempt, ...]) -> str:
    """Why no candidate is within the budget: what the nearest one is short of."""
    nearest = min(attempts, key=lambda a: (a.drop is None, a.drop, a.relative_l2 or 0.0))
    kept = f" with {len(nearest.float_nodes)} nodes in float" if nearest.float_nodes else ""
    return (
        f"no static INT8 is within the budget; of {len(attempts)} tried the nearest is "
        f"{nearest.label}{kept}: {nearest.reason}"
    )


def _conclude(path: Path, settings: Settings, findings: tuple[Finding, ...]) -> ConvertResult:
    told, advice = saturation_advice(graphs.load_model(path), recommended_entries(path))
    return conclude(path, settings={**settings, **told}, findings=(*findings, *advice))


def _refuse(findings: tuple[Finding, ...], looked_at: int, settings: Settings) -> ConvertResult:
    return refuse(ScaleAudit(passed=False, tensors=looked_at, findings=findings), settings=settings)
