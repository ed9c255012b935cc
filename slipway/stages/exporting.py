"""`slipway export`: a model and its golden set in a folder, with parity, and nothing else."""

from pathlib import Path

from slipway.artifacts import Value
from slipway.errors import SlipwayError
from slipway.reports import Diagnosis, Divergence, Finding, OutputNoise, ParityReport, TensorInfo
from slipway.specs import ReleaseSpec
from slipway.stages.delivery import deliver_file
from slipway.stages.explaining import explain_failure
from slipway.stages.failing import report_failure
from slipway.stages.making import export_model, fetch_materials
from slipway.stages.proving import validate_model
from slipway.stages.verdicts import warn_of_noise
from slipway.stages.workspace import Workspace


class ExportedFolder(Value):
    """What `slipway export` made, in the shape that scripts depend on."""

    passed: bool
    model: Path
    golden: Path
    opset: int
    route: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parity: ParityReport | None
    diagnosis: str
    cause: Diagnosis | None = None
    divergence: Divergence | None = None
    noise: tuple[OutputNoise, ...] = ()
    findings: tuple[Finding, ...] = ()


def export_to_folder(spec: ReleaseSpec, out: Path) -> ExportedFolder:
    """Export, validate fp32, and copy the model with its golden set into a folder.

    A model that fails parity is written all the same, for looking at; `passed` says so.

    Raises:
        SlipwayError: whatever stopped the export; its `report` is the page that explains it, where
            the model is at fault.
    """
    materials = fetch_materials(spec)
    spec = materials.complete(spec)
    try:
        exported = export_model(
            spec,
            materials.source,
            factory=materials.factory,
            golden=materials.golden,
            sample_data=materials.sample_data,
        )
    except SlipwayError as error:
        report_failure(spec, materials, error)
        raise
    validation = validate_model(
        spec, "fp32", exported.model, exported.golden, evaluation=materials.evaluation
    )
    validation = explain_failure(spec, materials, exported, validation)
    with Workspace() as work:
        out.mkdir(parents=True, exist_ok=True)
        for file in sorted(work.fetch_model(exported.model, "model").parent.iterdir()):
            deliver_file(file, out / file.name)
        deliver_file(work.fetch(exported.golden, "golden.npz"), out / "golden.npz")
    return ExportedFolder(
        passed=validation.passed,
        model=out / "model.onnx",
        golden=out / "golden.npz",
        opset=exported.opset,
        route=exported.route,
        inputs=exported.inputs,
        outputs=exported.outputs,
        parity=validation.parity,
        diagnosis=validation.reason or "every output agrees with the source model",
        cause=validation.diagnosis,
        divergence=validation.divergence,
        noise=exported.noise,
        findings=warn_of_noise(spec, exported).findings,
    )
