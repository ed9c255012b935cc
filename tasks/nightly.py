"""The tasks of a regression: promoted versions read back, held against the same made today."""

from typing import Any

from prefect.client.schemas.objects import State

from slipway.artifacts import ArtifactRef
from slipway.errors import ModelError
from slipway.exporters import TOOLS
from slipway.isolation.interpreters import versions_here
from slipway.reports import (
    Advisory,
    BenchmarkSuite,
    Evidence,
    NightlyReport,
    RegressionReport,
)
from slipway.specs import Precision, RegressionSpec, ReleaseSpec
from slipway.stages import champions, drifts, measuring, nightly
from slipway.stages.champions import Champion, Subject
from slipway.stages.followed import FRESH, PROMOTED, Today
from slipway.stages.making import Materials
from slipway.stages.releasing import tools_used
from slipway.stages.verdicts import gather_evidence
from tasks.policy import RUNTIME, cache_report, stage
from tasks.pools import measure
from tasks.stages import (
    framework_tools,
    settle_validation,
    validate_model,
)
from tasks.variants import make_variants


@stage(name="find models", run_name="find models")
def find_subjects(request: RegressionSpec) -> tuple[Subject, ...]:
    """The models to look at."""
    return champions.find_subjects(request)


@stage(name="read champion", run_name="read {subject.name}")
def read_champion(subject: Subject) -> Champion | None:
    """What the promoted version's bundle says of itself."""
    return champions.read_champion(subject.version) if subject.version else None


@stage(name="fetch subject", run_name="fetch {subject.name}")
def fetch_subject(subject: Subject, champion: Champion | None) -> tuple[ReleaseSpec, Materials]:
    """What it is made from today."""
    return champions.fetch_subject(subject, champion)


def make_again(
    subject: Subject, champion: Champion | None, request: RegressionSpec
) -> RegressionReport:
    """Make a model with today's tools and compare; one that cannot be made is a failed report."""
    spec, materials = fetch_subject(subject, champion)
    try:
        made = make_variants(spec, materials)
    except ModelError as error:
        tools = framework_tools(spec.source.known_framework)
        return drifts.export_failed(subject, champion, tools, error)
    evidence = gather_evidence(spec, made.exported, made.conversions, made.validations, ())
    today = Today(spec=spec, evidence=evidence, tools=tools_used(evidence))
    if champion is not None:
        today = hold_against(champion, today, request)
    return drifts.compare(subject, champion, today, request).model_copy(
        update={"cache": cache_report()}
    )


def hold_against(champion: Champion, today: Today, request: RegressionSpec) -> Today:
    """Both sets of bytes on the promoted version's data, and side by side where they differ."""
    promoted, fresh = _models(champion.evidence), _models(today.evidence)
    replaying = {name: _judge(champion, name, model) for name, model in promoted.items()}
    repeating = {
        name: _judge(champion, name, model) for name, model in fresh.items() if name in promoted
    }
    return Today(
        spec=today.spec,
        evidence=today.evidence,
        tools=today.tools,
        replayed={name: settle_validation(it, name) for name, it in replaying.items()},
        repeated={name: settle_validation(it, name) for name, it in repeating.items()},
        paired=_side_by_side(champion, promoted, fresh) if request.latency else {},
    )


def _side_by_side(
    champion: Champion,
    promoted: dict[Precision, ArtifactRef],
    fresh: dict[Precision, ArtifactRef],
) -> dict[Precision, tuple[BenchmarkSuite, ...]]:
    """Latencies of the promoted bytes and today's, where these are others."""
    golden = champion.evidence.export.golden
    jobs = {
        name: measuring.paired_jobs(
            champion.spec, name, {PROMOTED: old, FRESH: fresh[name]}, golden
        )
        for name, old in promoted.items()
        if name in fresh and fresh[name].digest != old.digest
    }
    return {name: tuple(measure(pairs)) for name, pairs in jobs.items()}


def _models(evidence: Evidence) -> dict[Precision, ArtifactRef]:
    return {variant.precision: variant.model for variant in evidence.variants if variant.model}


def _judge(champion: Champion, precision: Precision, model: ArtifactRef) -> Any:  # noqa: ANN401 - Prefect's future
    """A variant on the promoted version's golden set and labelled data, as its release did it."""
    fp32 = next(v for v in champion.evidence.variants if v.precision == "fp32").validation
    metric = fp32.metric if fp32 and precision != "fp32" else None
    return validate_model.submit(
        champion.spec,
        precision,
        model,
        champion.evidence.export.golden,
        champion.materials.evaluation,
        baseline=metric.value if metric else None,
    )


@stage(name="ask the package index", run_name="ask the package index")
def todays_advisories(request: RegressionSpec) -> tuple[Advisory, ...]:
    """What is known against the tools of this environment."""
    tools = sorted({*RUNTIME, *(tool for tools in TOOLS.values() for tool in tools)})
    return nightly.find_advisories(request, versions_here(tools))


def settle_model(subject: Subject, state: State[Any]) -> RegressionReport:
    """A model's report; whatever stopped its run is a failed one, and the others go on."""
    found = state.result(raise_on_failure=False)
    if isinstance(found, RegressionReport):
        return found
    if isinstance(found, BaseException):
        return drifts.not_compared(subject, found)
    return drifts.not_compared(subject, RuntimeError(f"{state.name}: {state.message}"))


@stage(name="record", run_name="record {report.name}")
def record_measures(request: RegressionSpec, report: RegressionReport) -> None:
    """Put a model's figures into its series."""
    nightly.record_measures(request, report)


@stage(name="trends", run_name="write the page of trends")
def write_trends(request: RegressionSpec, report: NightlyReport) -> str:
    """One HTML page over all models and nights."""
    return str(nightly.write_trends(request, report))
