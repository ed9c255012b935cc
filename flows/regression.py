"""The regression recipe: every promoted model is made again with today's tools, and compared."""

from typing import Final

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.task_runners import ThreadPoolTaskRunner

from slipway.reports import Advisory, NightlyReport, RegressionReport
from slipway.specs import RegressionSpec
from slipway.stages.champions import Subject
from slipway.stages.costs import Meter
from slipway.stages.drifts import gather, with_advisories
from tasks.costs import settle_costs
from tasks.endings import failed
from tasks.nightly import (
    find_subjects,
    make_again,
    read_champion,
    record_measures,
    settle_model,
    todays_advisories,
    write_trends,
)
from tasks.pages import announce_regression, publish_nightly

EVERYTHING: Final = RegressionSpec()
"""What a schedule asks for, which has no parameters: a default, since the run's name reads it."""


@flow(
    name="regress",
    flow_run_name="regress {subject.name}",
    persist_result=False,
    result_serializer="json",
    task_runner=ThreadPoolTaskRunner(max_workers=2),  # type: ignore[arg-type]
)
def regress(
    subject: Subject, request: RegressionSpec, advisories: tuple[Advisory, ...] = ()
) -> RegressionReport | State[RegressionReport]:
    """Make one model again and hold it against its promoted version.

    Args:
        subject: The model: a promoted version, or a spec.
        request: Limits, and what to measure.
        advisories: What is known against today's tools.
    """
    champion = read_champion(subject)
    report = with_advisories(
        make_again(subject, champion, request), advisories, fail=request.advisories == "fail"
    )
    record_measures(request, report)
    announce_regression(report)
    if report.passed:
        return report
    why = "; ".join(drift.sentence for drift in report.regressions)
    return failed(report, f"{why} (changed since: {report.cause})")


@flow(
    name="regression",
    flow_run_name="regression of {request.alias}",
    persist_result=False,
    result_serializer="json",
)
def regression(request: RegressionSpec = EVERYTHING) -> NightlyReport | State[NightlyReport]:
    """Make every promoted model again with today's tools; one that regressed fails, not the others.

    Args:
        request: Which models, and from where on a difference is a regression.
    """
    meter = Meter()
    advisories = todays_advisories(request)
    models = [
        settle_model(subject, regress(subject, request, advisories, return_state=True))
        for subject in find_subjects(request)
    ]
    report = gather(models, advisories)
    report = report.model_copy(update={"page": write_trends(request, report)})
    report = report.model_copy(update={"cost": settle_costs(meter, report.cache)})
    publish_nightly(report)
    if report.passed:
        return report
    regressed = ", ".join(model.name for model in models if not model.passed)
    return failed(report, f"regressed: {regressed}")
