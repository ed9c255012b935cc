"""The tasks of a release: each is one function of `slipway.stages` under the house's policy.

What belongs here: which parameters decide a result, which tools' versions do, and how a run is
named. What does not: any work on models.
"""

from typing import Any

from prefect.futures import PrefectFuture

from slipway.artifacts import ArtifactRef
from slipway.errors import ModelError, SlipwayError
from slipway.exporters import TOOLS
from slipway.isolation.interpreters import versions_here
from slipway.providers.hardware import made_here
from slipway.reports import (
    BundleReport,
    CheckReport,
    ConversionReport,
    Evidence,
    ExportFailure,
    ExportReport,
    Finding,
    RegisteredVersion,
    SealedBundle,
    SelftestReport,
    ValidationReport,
)
from slipway.specs import Framework, Precision, ReleaseSpec
from slipway.stages import explaining, failing, making, measuring, proving, registering, releasing
from slipway.stages.interpreters import interpreter_for
from slipway.stages.making import Materials
from tasks.pages import publish_failure, run_link
from tasks.policy import RUNTIME, stage


def framework_tools(framework: Framework) -> dict[str, str]:
    """Versions of what exports a framework's models, in the environment where that happens."""
    there = interpreter_for(framework)
    if there is None:
        return versions_here(TOOLS[framework])
    return there.versions((*TOOLS[framework], "onnx", "numpy"))


@stage(name="fetch", run_name="fetch {spec.name}")
def fetch_materials(spec: ReleaseSpec) -> Materials:
    """Put what the spec names into the store."""
    return making.fetch_materials(spec)


def _export_reads(given: dict[str, Any]) -> object:
    spec: ReleaseSpec = given["spec"]
    source = spec.source
    return {
        "refs": [given["source"], given["factory"], given["golden"], given["sample_data"]],
        "framework": source.framework,
        # The factory's file is among the references; its path must not decide anything.
        "factory": (source.factory or "").rpartition(":")[2 if given["factory"] else 0 :],
        "factory_arguments": source.factory_arguments,
        "inputs_as_nchw": source.inputs_as_nchw,
        "trusted": source.trusted,
        "inputs": spec.inputs,
        "outputs": spec.outputs,
        "opset": [spec.opset, spec.highest_opset, "opset" in spec.model_fields_set],
        "labels": spec.data.labels,
        "tools": framework_tools(source.known_framework),
    }


@stage(
    name="export",
    run_name="export {spec.name} from {spec.source.framework}",
    code_version=2,
    reads=_export_reads,
    tools=RUNTIME,
)
def export_model(
    spec: ReleaseSpec,
    source: ArtifactRef,
    factory: ArtifactRef | None,
    golden: ArtifactRef | None,
    sample_data: ArtifactRef | None,
) -> ExportReport:
    """Framework to ONNX, with the golden set."""
    return making.export_model(
        spec, source, factory=factory, golden=golden, sample_data=sample_data
    )


def _convert_reads(given: dict[str, Any]) -> object:
    spec: ReleaseSpec = given["spec"]
    reads: dict[str, Any] = {
        "precision": given["precision"],
        "options": spec.precisions.asked()[given["precision"]].model_dump(exclude={"required"}),
        "refs": [given["model"], given["calibration"]],
        "made_for": made_here("cpu") if given["precision"] == "fp32-optimized" else None,
    }
    if given["precision"] in making.JUDGED:
        spec = given["spec"]
        bounds = spec.parity.model_dump(include={"label_agreement", "int8_relative_error"})
        reads["judge"] = {**_judge_reads(given), "parity": bounds}
    return reads


def _judge_reads(given: dict[str, Any]) -> dict[str, object]:
    """What decides whether a model is within the budget."""
    spec: ReleaseSpec = given["spec"]
    return {
        "refs": [given["golden"], given["evaluation"]],
        "baseline": given["baseline"],
        "parity": spec.parity,
        "budget": spec.budget,
        "metric": [spec.metric, spec.metric_output, spec.data.labels],
    }


@stage(
    name="convert",
    run_name="convert {spec.name} to {precision}",
    code_version=4,
    reads=_convert_reads,
    tools=RUNTIME,
)
def convert_model(
    spec: ReleaseSpec,
    precision: Precision,
    model: ArtifactRef,
    calibration: ArtifactRef | None,
    golden: ArtifactRef | None,
    evaluation: ArtifactRef | None,
    baseline: float | None,
) -> ConversionReport:
    """Fp32 to another precision."""
    return making.convert_model(
        spec,
        precision,
        model,
        calibration=calibration,
        golden=golden,
        evaluation=evaluation,
        baseline=baseline,
    )


def _validate_reads(given: dict[str, Any]) -> object:
    return {
        **_judge_reads(given),
        "precision": given["precision"],
        "refs": [given["model"], given["golden"], given["evaluation"]],
    }


@stage(
    name="validate",
    run_name="validate {spec.name} {precision}",
    code_version=4,
    reads=_validate_reads,
    tools=RUNTIME,
)
def validate_model(
    spec: ReleaseSpec,
    precision: Precision,
    model: ArtifactRef,
    golden: ArtifactRef,
    evaluation: ArtifactRef | None,
    baseline: float | None,
) -> ValidationReport:
    """Check, parity, metric."""
    return proving.validate_model(
        spec, precision, model, golden, evaluation=evaluation, baseline=baseline
    )


def _explain_reads(given: dict[str, Any]) -> object:
    materials: Materials = given["materials"]
    source = {
        "spec": given["spec"],
        "source": materials.source,
        "factory": materials.factory,
        "golden": materials.golden,
        "sample_data": materials.sample_data,
    }
    return [_export_reads(source), given["exported"], given["validation"]]


@stage(
    name="explain",
    run_name="explain {spec.name}",
    code_version=1,
    reads=_explain_reads,
    tools=RUNTIME,
)
def explain_failure(
    spec: ReleaseSpec, materials: Materials, exported: ExportReport, validation: ValidationReport
) -> ValidationReport:
    """Why the exported model failed parity, held against its source."""
    return explaining.explain_failure(spec, materials, exported, validation)


def _bundle_reads(given: dict[str, Any]) -> object:
    spec: ReleaseSpec = given["spec"]
    return {
        "spec": releasing.spec_identity(spec),
        "materials": given["materials"].model_copy(update={"origin": None}),
        "evidence": given["evidence"],
        "tools": framework_tools(spec.source.known_framework),
    }


@stage(
    name="bundle",
    run_name="bundle {spec.name}",
    code_version=4,
    reads=_bundle_reads,
    tools=("slipway", *RUNTIME),
)
def build_bundle(spec: ReleaseSpec, materials: Materials, evidence: Evidence) -> SealedBundle:
    """Variants, golden set, assets and evidence, sealed."""
    return releasing.build_bundle(spec, materials, evidence)


def _selftest_reads(given: dict[str, Any]) -> object:
    # The tolerances of the replay are in the bundle itself.
    return {"bundle": given["bundle"].digest, "host": measuring.host_fingerprint()}


@stage(
    name="self-test",
    run_name="self-test {spec.name}",
    code_version=2,
    reads=_selftest_reads,
    tools=RUNTIME,
)
def selftest_bundle(spec: ReleaseSpec, bundle: SealedBundle) -> SelftestReport:
    """Every variant of the bundle loads and repeats its recorded answers."""
    return releasing.selftest_sealed(spec, bundle)


@stage(name="unpack", run_name="unpack {spec.name}")
def unpack_bundle(spec: ReleaseSpec, bundle: SealedBundle) -> BundleReport:  # noqa: ARG001 - names the run
    """The bundle as a verified folder on this machine."""
    return releasing.unpack_bundle(bundle)


@stage(name="report", run_name="report {spec.name}")
def write_report(spec: ReleaseSpec, materials: Materials, evidence: Evidence) -> str:
    """The HTML report of a release that made no bundle."""
    return str(releasing.write_report(spec, materials, evidence))


@stage(name="register", run_name="register {spec.name}")
def register_release(
    spec: ReleaseSpec, bundle: BundleReport, evidence: Evidence
) -> RegisteredVersion | None:
    """One version per bundle, then the alias; a re-run finds it."""
    return registering.register_release(spec, bundle, evidence, links=run_link())


@stage(name="report", run_name="report {failure.name}")
def write_failure(failure: ExportFailure) -> str:
    """The HTML page of an export that failed."""
    return str(failing.write_failure(failure))


def settle_export(
    future: PrefectFuture[ExportReport], spec: ReleaseSpec, materials: Materials
) -> ExportReport:
    """An export's report; one that the model is at fault for leaves a page, and fails the run."""
    found: ExportReport | BaseException = future.result(raise_on_failure=False)
    if isinstance(found, SlipwayError):
        failure = failing.describe_failure(spec, materials, found)
        if failure is not None:
            found.report = write_failure(failure)
            publish_failure(failure)
    if isinstance(found, BaseException):
        raise found
    return ExportReport.model_validate(found)


def settle_conversion(
    future: PrefectFuture[ConversionReport], precision: Precision
) -> ConversionReport:
    """A conversion's report; a converter that crashed, hung or ate all memory is a failed one."""
    found: ConversionReport | BaseException = future.result(raise_on_failure=False)
    if isinstance(found, ModelError):
        return ConversionReport(precision=precision, status="failed", reason=str(found))
    if isinstance(found, BaseException):
        raise found
    return ConversionReport.model_validate(found)


def settle_validation(
    future: PrefectFuture[ValidationReport], precision: Precision
) -> ValidationReport:
    """A validation's report; a model that brings its runtime down is a failed one."""
    found: ValidationReport | BaseException = future.result(raise_on_failure=False)
    if isinstance(found, ModelError):
        problem = Finding(level="error", code="validation-died", message=str(found))
        return ValidationReport(
            precision=precision,
            passed=False,
            reason=str(found),
            check=CheckReport(passed=False, findings=(problem,)),
        )
    if isinstance(found, BaseException):
        raise found
    return ValidationReport.model_validate(found)
