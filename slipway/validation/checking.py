"""Whether one ONNX file is sound: preflight, ONNX's checker, shape inference, the runtime.

Native parsers see the graph only after the preflight found no error.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs, model_outputs
from slipway.reports import CheckReport, Finding
from slipway.validation.external import ExternalFiles, OutsideError
from slipway.validation.preflight import inspect_model, read_bounded
from slipway.validation.tensors import needed_bytes
from slipway.validation.walk import SMALL

_LONGEST_MESSAGE: Final = 400

_OWN_MISTAKE: Final = "One and only one of the attributes 'value'"
"""onnx 1.23 stumbles over its own function body of MeanVarianceNormalization 13."""


def check_model(path: Path) -> CheckReport:
    """Say whether a model file is sound, with the reasons when it is not.

    Raises:
        SourceNotFound: when there is no file.
        UnreadableModel: when it is empty, cut off, or no ONNX model: there is nothing to check.
    """
    return check_and_open(path)[0]


def check_and_open(path: Path) -> tuple[CheckReport, Session | None]:
    """`check_model`, and the session that proved the model loads; None when it failed."""
    model = read_bounded(path)
    findings = list(inspect_model(model, folder=path.parent))
    findings += _check_interface(model)
    summary = _summarise(model, path)
    if not _any_error(findings):
        findings += _run_shape_inference(model)
    del model  # its weights are in memory once more below
    if not _any_error(findings):
        findings += _run_checker(path)
    session = None
    if not _any_error(findings):
        try:
            session = Session(path)
        except CheckFailed as error:
            findings.append(_error("runtime-load", str(error)))
    passed = session is not None
    report = CheckReport(passed=passed, findings=tuple(findings), **summary)
    return report, session


def first_error(report: CheckReport) -> str | None:
    """The first reason for which a check failed, as a sentence."""
    for finding in report.findings:
        if finding.level == "error":
            return f"{finding.place}: {finding.message}" if finding.place else finding.message
    return None


def _summarise(model: onnx.ModelProto, path: Path) -> Mapping[str, object]:
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    operators = Counter(
        f"{node.domain}.{node.op_type}" if node.domain else node.op_type
        for node in model.graph.node
    )
    return {
        "opset": opsets.get("", opsets.get("ai.onnx")),
        "ir_version": model.ir_version,
        "operators": dict(sorted(operators.items())),
        "size_bytes": path.stat().st_size + _external_bytes(model, path.parent),
    }


def _external_bytes(model: onnx.ModelProto, folder: Path) -> int:
    files = ExternalFiles(folder)
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            try:
                files.locate(tensor, needed=needed_bytes(tensor) or 0)
            except OutsideError:
                continue  # said by the preflight
    return files.total_bytes


def _check_interface(model: onnx.ModelProto) -> Iterator[Finding]:
    """Inputs and outputs are plain tensors of types that data can have."""
    try:
        model_inputs(model)
        model_outputs(model)
    except CheckFailed as error:
        yield _error("interface", str(error))


def _run_shape_inference(model: onnx.ModelProto) -> Iterator[Finding]:
    """Strict inference of types and shapes, on the graph without its large weights.

    No shape depends on a large weight's values, so that gigabytes need not be serialised; this
    changes `model`.
    """
    for tensor in model.graph.initializer:
        if len(tensor.raw_data) > SMALL:
            tensor.ClearField("raw_data")
        if len(tensor.float_data) > SMALL:
            tensor.ClearField("float_data")
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        found = _error("shape-inference", f"types or shapes contradict each other: {error}")
        yield found.model_copy(update={"level": "warning"}) if _OWN_MISTAKE in str(error) else found


def _run_checker(path: Path) -> Iterator[Finding]:
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError, OSError) as error:
        yield _error("checker", f"onnx.checker: {error}")


def _error(code: str, message: str) -> Finding:
    line = " ".join(message.split())
    if len(line) > _LONGEST_MESSAGE:
        line = line[:_LONGEST_MESSAGE] + "..."
    return Finding(level="error", code=code, message=line)


def _any_error(findings: list[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)
