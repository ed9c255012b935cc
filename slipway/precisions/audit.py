"""Scales, ranges and weights that make garbage silently: found and named.

An infinite, NaN or zero scale loads and runs without a word; the outputs are NaN or constant.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.errors import UnreadableModel
from slipway.precisions import graphs
from slipway.precisions.ranges import MeasuredRanges
from slipway.providers.signature import read_graph
from slipway.reports import Finding, ScaleAudit
from slipway.samples.arrays import Array

Ranges = Mapping[str, tuple[float, float]]

# Where operators take their scales; com.microsoft's are in onnxruntime's ContribOperators.md.
SCALE_INPUTS: Final[Mapping[str, tuple[int, ...]]] = {
    "QuantizeLinear": (1,),
    "DequantizeLinear": (1,),
    "QLinearConv": (1, 4, 6),
    "QLinearMatMul": (1, 4, 6),
    "QLinearAdd": (1, 4, 6),
    "QLinearMul": (1, 4, 6),
    "QGemm": (1, 4, 7),
    "QLinearSigmoid": (1, 3),
    "QLinearLeakyRelu": (1, 3),
    "QLinearSoftmax": (1, 3),
    "QLinearAveragePool": (1, 3),
    "QLinearGlobalAveragePool": (1, 3),
    "DynamicQuantizeMatMul": (2,),
    "MatMulIntegerToFloat": (2, 3),
}

# Eight bits over a range this wide hold nothing: it comes from a stand-in for infinity in a mask,
# such as finfo(float32).min, about -3.4e38.
HUGE: Final = 1e30
# A range below this has a scale that is no normal float32.
SMALLEST: Final = 255 * float(np.finfo(np.float32).tiny)


# How far beyond its range a tensor's values reach that outliers rule.
OUTLIER: Final = 16.0
# Of a tensor's values, the share that must not become zero, and the share that must not be clipped.
MOSTLY: Final = 0.5
NOTICEABLE: Final = 0.01


def audit_scales(model: Path) -> ScaleAudit:
    """Look at every constant scale of a quantized model.

    An infinite, NaN, zero, negative, subnormal or absurdly large scale is an error finding that
    names the tensor. Scales computed at run time cannot be seen here.

    Raises:
        SourceNotFound, UnreadableModel: for the file.
    """
    proto = read_graph(model)
    tensors = dict(graphs.constants(proto.graph))
    names = sorted({name for name in scale_names(proto) if name in tensors})
    findings = []
    for name in names:
        problem = _scale_problem(_values(tensors[name], model.parent))
        if problem:
            findings.append(_error("scale-unusable", f"scale {name} is {problem}", name))
    return ScaleAudit(passed=not findings, tensors=len(names), findings=tuple(findings))


def audit_ranges(ranges: Ranges) -> tuple[Finding, ...]:
    """Find activation ranges that no eight bits can hold, before a quantizer sees them."""
    findings = []
    for name, (low, high) in sorted(ranges.items()):
        if not (np.isfinite(low) and np.isfinite(high)):
            findings.append(
                _error(
                    "range-not-finite",
                    f"activation {name} reaches [{low:g}, {high:g}] on the calibration data",
                    name,
                )
            )
        elif max(abs(low), abs(high)) >= HUGE:
            findings.append(
                _error(
                    "range-huge",
                    f"activation {name} reaches [{low:g}, {high:g}], as masks made with finfo.min "
                    "do; its scale would be useless",
                    name,
                )
            )
        elif 0 < max(abs(low), abs(high)) < SMALLEST:
            findings.append(
                _error(
                    "range-collapsed",
                    f"activation {name} stays within [{low:g}, {high:g}] on the calibration data; "
                    "a scale for that is no normal float32",
                    name,
                )
            )
    return tuple(findings)


def warn_of_ranges(ranges: MeasuredRanges) -> tuple[Finding, ...]:
    """Name the tensors that eight bits hold badly, though they hold them."""
    return tuple(
        Finding(level="warning", code=code, message=f"activation {name} {said}", place=name)
        for name in sorted(ranges.observed)
        for code, said in _weaknesses(ranges, name)
    )


def _weaknesses(ranges: MeasuredRanges, name: str) -> Iterator[tuple[str, str]]:
    low, high = ranges.observed[name]
    if not np.isfinite([low, high]).all():
        return
    if low == high:
        code = "range-zero" if low == 0 else "range-constant"
        yield code, f"is {low:g} on all of the calibration data; its range fits nothing else"
        return
    left, right = ranges[name]
    lost = ranges.losses.get(name)
    wider = max(abs(low), abs(high)) / max(abs(left), abs(right), SMALLEST)
    if wider >= OUTLIER or (lost and lost.vanishing >= MOSTLY):
        zeros = f"; {lost.vanishing:.0%} of its values become zero" if lost else ""
        reaches = f"it reaches [{low:g}, {high:g}] and its range is [{left:g}, {right:g}]"
        yield "range-outliers", f"is ruled by outliers: {reaches}{zeros}"
    if lost and lost.clipped >= NOTICEABLE:
        outside = f"{lost.clipped:.1%} of its values lie outside [{left:g}, {right:g}]"
        yield "range-saturates", f"saturates: {outside}"


def audit_weights(model: onnx.ModelProto) -> tuple[Finding, ...]:
    """Find NaN and infinite weights in a model whose weights are in memory."""
    findings = []
    for name, tensor in graphs.constants(model.graph):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        bad = int((~np.isfinite(numpy_helper.to_array(tensor))).sum())
        if bad and _feeds_arithmetic(model, name):
            findings.append(
                _error("weight-not-finite", f"weight {name} holds {bad} NaN or infinities", name)
            )
    return tuple(findings)


def scale_names(model: onnx.ModelProto) -> Iterator[str]:
    """Names of all values that the model's nodes take as quantization scales."""
    run_time = {
        node.output[1]
        for node in graphs.walk_nodes(model)
        if node.op_type == "DynamicQuantizeLinear"
    }
    for node in graphs.walk_nodes(model):
        for position in SCALE_INPUTS.get(node.op_type, ()):
            if position < len(node.input) and node.input[position]:
                yield node.input[position]
        # quantize_dynamic multiplies the activation's scale by the weight's.
        if node.op_type == "Mul" and run_time.intersection(node.input):
            yield from node.input


def summarize(findings: Iterable[Finding], *, shown: int = 3) -> str:
    """The errors in one sentence: the first few, and how many more there are."""
    errors = [finding.message for finding in findings if finding.level == "error"]
    more = f" and {len(errors) - shown} more" if len(errors) > shown else ""
    return "; ".join(errors[:shown]) + more


def _scale_problem(values: Array) -> str | None:
    problems = {
        "NaN": np.isnan(values),
        "infinite": np.isinf(values),
        "negative": values < 0,
        "zero": values == 0,
        "subnormal": values < np.finfo(values.dtype).tiny,
        "as wide as a mask's stand-in for infinity": values.astype(np.float64) >= HUGE,
    }
    return next((name for name, where in problems.items() if where.any()), None)


def _values(tensor: onnx.TensorProto, folder: Path) -> Array:
    try:
        values: Array = numpy_helper.to_array(tensor, base_dir=str(folder))
    except (OSError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise UnreadableModel(f"scale {tensor.name} cannot be read: {error}") from error
    return values


def _feeds_arithmetic(model: onnx.ModelProto, name: str) -> bool:
    """Whether a constant is a weight; infinities in a mask that is added or selected are fine."""
    weighted = {"MatMul", "Gemm", "Conv", "ConvTranspose", "BatchNormalization"}
    return any(node.op_type in weighted and name in node.input for node in graphs.walk_nodes(model))


def _error(code: str, message: str, place: str) -> Finding:
    return Finding(level="error", code=code, message=message, place=place)
