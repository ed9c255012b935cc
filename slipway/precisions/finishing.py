"""How every converted model ends: tidied, saved alone in its folder, checked, loaded, audited."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import onnx

from slipway.errors import CheckFailed, PrecisionFailed
from slipway.precisions.audit import audit_scales, summarize
from slipway.precisions.graphs import save_model, tidy
from slipway.protocols import ConvertResult
from slipway.reports import Finding, ScaleAudit

Settings = Mapping[str, str | int | float | bool]


def finish(
    model: onnx.ModelProto, scratch: Path, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write the converted model as `model/model.onnx` in a fresh `scratch` and prove it loads.

    `metadata` is all that the model carries of it.

    Raises:
        PrecisionFailed: when the checker or onnxruntime refuses it, with the reason.
    """
    from slipway.providers.sessions import Session

    tidy(model)
    onnx.helper.set_model_props(model, dict(metadata or {}))
    path = scratch / "model" / "model.onnx"
    path.parent.mkdir(parents=True)
    save_model(model, path)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise PrecisionFailed(f"the converted model breaks the ONNX rules: {error}") from error
    try:
        Session(path)
    except CheckFailed as error:
        raise PrecisionFailed(f"the converted model is unusable: {error}") from error
    return path


def conclude(
    path: Path, *, settings: Settings, findings: tuple[Finding, ...] = ()
) -> ConvertResult:
    """The result of a quantized model: passed where all its scales are usable."""
    audit = audit_scales(path)
    audit = audit.model_copy(update={"findings": (*audit.findings, *findings)})
    if not audit.passed:
        return refuse(audit, settings=settings)
    return ConvertResult(
        status="passed", model=path, scales=audit, settings=dict(settings), tools=tools()
    )


def refuse(audit: ScaleAudit, *, settings: Settings) -> ConvertResult:
    """The result of a model whose scales are, or would be, unusable; no model is handed out."""
    return ConvertResult(
        status="failed",
        reason=summarize(audit.findings),
        scales=audit,
        settings=dict(settings),
        tools=tools(),
    )


def skip(reason: str) -> ConvertResult:
    """The result where a precision does not apply."""
    return ConvertResult(status="skipped", reason=reason, tools=tools())


def tools() -> dict[str, str]:
    """Versions of what decides the bytes."""
    return {name: version(name) for name in ("onnx", "onnxruntime", "numpy")}


@contextmanager
def workplace(scratch: Path) -> Iterator[Path]:
    """A folder inside scratch that is gone afterwards, where all temporary files go.

    onnxruntime's tools make folders in the system's temporary place and, when they fail, leave
    them there (1.31).
    """
    scratch.mkdir(parents=True, exist_ok=True)
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=scratch, prefix="work-") as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = before
