"""The release recipe: a trained model becomes a measured, verified, registered ONNX bundle."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner

from slipway.reports import ReleaseReport
from slipway.specs import ReleaseSpec
from slipway.stages.verdicts import gather_evidence, passed_models
from tasks.pages import publish_pages
from tasks.policy import cache_report
from tasks.stages import (
    benchmark_models,
    build_bundle,
    convert_model,
    explain_failure,
    export_model,
    fetch_materials,
    register_release,
    selftest_bundle,
    settle_conversion,
    settle_export,
    settle_validation,
    unpack_bundle,
    validate_model,
    write_report,
)


@flow(
    name="release",
    flow_run_name="release {spec.name}",
    persist_result=False,
    result_serializer="json",  # Prefect keeps refused parameters all the same, and in a pickle
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type]
)
def release(spec: ReleaseSpec) -> ReleaseReport | State[ReleaseReport]:
    """Export a trained model, prove it, measure it, seal it and register it.

    Args:
        spec: What is asked: the source model, its data, the precisions, budgets and benchmarks,
            and where to register the release. Relative paths start at the worker's directory.
    """
    materials = fetch_materials(spec)
    spec = materials.complete(spec)
    exported = settle_export(
        export_model.submit(
            spec,
            source=materials.source,
            factory=materials.factory,
            golden=materials.golden,
            sample_data=materials.sample_data,
        ),
        spec,
        materials,
    )

    baseline = settle_validation(
        validate_model.submit(
            spec, "fp32", exported.model, exported.golden, materials.evaluation, baseline=None
        ),
        "fp32",
    )
    if not baseline.passed:
        baseline = explain_failure(spec, materials, exported, baseline)
    # Nothing is made of an export that is wrong.
    asked = spec.precisions.asked() if baseline.passed else spec.precisions.baseline()

    converting = {
        precision: convert_model.submit(
            spec,
            precision,
            exported.model,
            materials.calibration_for(precision),
            exported.golden,
            materials.evaluation,
            baseline=baseline.metric.value if baseline.metric else None,
        )
        for precision in asked
    }
    conversions = [settle_conversion(future, name) for name, future in converting.items()]

    validating = {
        made.precision: validate_model.submit(
            spec,
            made.precision,
            made.model,
            exported.golden,
            materials.evaluation,
            baseline=baseline.metric.value if baseline.metric else None,
        )
        for made in conversions
        if made.model is not None and made.precision != "fp32"
    }
    validations = [
        baseline,
        *(settle_validation(future, name) for name, future in validating.items()),
    ]

    passed = passed_models(conversions, validations)
    suites = [
        benchmark_models(spec, provider, passed, exported.golden)
        for provider in spec.benchmark.providers
        if passed
    ]
    evidence = gather_evidence(spec, exported, conversions, validations, suites)

    bundle = registered = None
    if evidence.passed:
        sealed = build_bundle(spec, materials, evidence)
        selftest_bundle(spec, sealed)
        bundle = unpack_bundle(spec, sealed)
        registered = register_release(spec, bundle, evidence)
    page = bundle.report if bundle else write_report(spec, materials, evidence)
    publish_pages(evidence, bundle, registered)

    report = ReleaseReport(
        name=spec.name,
        passed=evidence.passed,
        evidence=evidence,
        bundle=bundle,
        registered=registered,
        report=page,
        cache=cache_report(),
    )
    return report if report.passed else Failed(message="; ".join(evidence.failures), data=report)
