"""The release recipe: a trained model becomes a measured, verified, registered ONNX bundle."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from slipway.reporting.summary import cost_sentence
from slipway.reports import ReleaseReport
from slipway.specs import ReleaseSpec
from slipway.stages.costs import Meter
from slipway.stages.measuring import benchmark_jobs
from slipway.stages.verdicts import gather_evidence, passed_models
from tasks.costs import settle_costs
from tasks.endings import failed
from tasks.pages import publish_pages
from tasks.policy import cache_report
from tasks.pools import cancel_benchmarks, measure
from tasks.stages import (
    build_bundle,
    fetch_materials,
    register_release,
    selftest_bundle,
    unpack_bundle,
    write_report,
)
from tasks.variants import make_variants


@flow(
    name="release",
    flow_run_name="release {spec.name}",
    persist_result=False,
    result_serializer="json",  # Prefect keeps refused parameters all the same, and in a pickle
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type]
    on_cancellation=[cancel_benchmarks],
    on_crashed=[cancel_benchmarks],
)
def release(spec: ReleaseSpec) -> ReleaseReport | State[ReleaseReport]:
    """Export a trained model, prove it, measure it, seal it and register it.

    Args:
        spec: What is asked: the source model, its data, the precisions, budgets and benchmarks,
            and where to register the release. Relative paths start at the worker's directory.
    """
    meter = Meter()
    materials = fetch_materials(spec)
    spec = materials.complete(spec)
    made = make_variants(spec, materials)

    jobs = benchmark_jobs(
        spec, passed_models(made.conversions, made.validations), made.exported.golden
    )
    suites = measure(jobs)
    evidence = gather_evidence(spec, made.exported, made.conversions, made.validations, suites)

    bundle = registered = None
    if evidence.passed:
        sealed = build_bundle(spec, materials, evidence)
        selftest_bundle(spec, sealed)
        bundle = unpack_bundle(spec, sealed)
        registered = register_release(spec, bundle, evidence)
    page = bundle.report if bundle else write_report(spec, materials, evidence)
    cache = cache_report()
    cost = settle_costs(meter, cache, model=spec.name)
    publish_pages(evidence, registered, cost_sentence(cost, cache))

    report = ReleaseReport(
        name=spec.name,
        passed=evidence.passed,
        evidence=evidence,
        bundle=bundle,
        registered=registered,
        report=page,
        cache=cache,
        cost=cost,
    )
    return report if report.passed else failed(report, "; ".join(evidence.failures))
