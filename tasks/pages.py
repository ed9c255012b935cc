"""What a run leaves in the Prefect UI: tables with a history, summaries, links, events."""

import re

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from slipway.promotion.pages import promotion_markdown
from slipway.promotion.records import PromotionReport
from slipway.reporting.failure import failure_markdown
from slipway.reporting.markdown import summary_markdown, variants_table
from slipway.reporting.measurements import conditions_sentence, measurements_table
from slipway.reporting.regression import (
    drifts_table,
    matrix_table,
    models_table,
    nightly_markdown,
)
from slipway.reporting.summary import explanation
from slipway.reports import (
    BenchmarkSuite,
    Evidence,
    ExportFailure,
    MatrixReport,
    NightlyReport,
    RegisteredVersion,
    RegressionReport,
)

REGRESSED = "slipway.model.regressed"
"""The event of a model that regressed; an automation makes a notification of it."""


def run_link() -> dict[str, str]:
    """The address of the flow run that asks, by its text; nothing where nobody could open it."""
    page = run_address()
    return {"Prefect run": page} if page else {}


def run_address() -> str | None:
    """The address of the flow run that asks; None where nobody could open it.

    Without a configured API the server lasts as long as the run, and its pages no longer.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or PREFECT_API_URL.value() is None:
        return None
    return url_for("flow-run", obj_id=context.flow_run.id)


def publish_pages(evidence: Evidence, registered: RegisteredVersion | None, cost: str) -> None:
    """Create the artifacts; the same keys each time, so that the UI shows their history."""
    name, version = slug(evidence.name), _version_link(registered)
    create_table_artifact(
        key=f"variants-{name}",
        table=variants_table(evidence),
        description=f"All figures of each variant of {evidence.name}",
    )
    create_markdown_artifact(
        key=f"release-{name}",
        markdown=summary_markdown(evidence, links=version, cost=cost),
        description=explanation(evidence),
    )
    for text, address in version.items():
        create_link_artifact(key=f"registry-{name}", link=address, link_text=text, description=text)


def _version_link(registered: RegisteredVersion | None) -> dict[str, str]:
    if registered is None:
        return {}
    address = registered.url or f"models:/{registered.name}/{registered.version}"
    return {f"{registered.name} version {registered.version} in MLflow": address}


def publish_suite(name: str, suite: BenchmarkSuite) -> None:
    """A provider's latencies of one model; the key is theirs, which gives them a history."""
    create_table_artifact(
        key=f"benchmark-{slug(name)}-{suite.provider}",
        table=measurements_table(suite),
        description=conditions_sentence(suite),
    )


def publish_failure(failure: ExportFailure) -> None:
    """Create the artifact of a release whose source could not be exported."""
    create_markdown_artifact(
        key=f"release-{slug(failure.name)}",
        markdown=failure_markdown(failure),
        description=f"Release of {failure.name}",
    )


def announce_regression(report: RegressionReport) -> None:
    """Leave the model's table of drifts, and raise the event where it regressed."""
    if report.drifts:
        create_table_artifact(
            key=f"drifts-{slug(report.name)}",
            table=drifts_table(report),
            description=f"What of {report.name} is not as it was when it was promoted",
        )
    if not report.passed:
        emit_event(
            REGRESSED,
            resource={
                "prefect.resource.id": f"slipway.model.{report.name}",
                "prefect.resource.name": report.name,
            },
            payload={
                "model": report.name,
                "version": report.version,
                "regressions": [drift.sentence for drift in report.regressions],
                "cause": report.cause,
            },
        )


def publish_nightly(report: NightlyReport) -> None:
    """One table over all models, whose history is that of the nights, and its summary."""
    create_table_artifact(
        key="regression", table=models_table(report), description="Models made again today"
    )
    create_markdown_artifact(
        key="regression-summary",
        markdown=nightly_markdown(report),
        description="What regressed, and what changed since",
    )


def publish_matrix(report: MatrixReport) -> None:
    """One table: a row a model, a column a toolchain."""
    create_table_artifact(
        key="matrix", table=matrix_table(report), description="Models by toolchain"
    )


def publish_promotion(report: PromotionReport) -> None:
    """What became of a promotion or a rollback; one key an alias, so that the UI shows history."""
    create_markdown_artifact(
        key=f"alias-{slug(report.name)}-{slug(report.alias)}",
        markdown=promotion_markdown(report),
        description=report.verdict,
    )


def slug(name: str) -> str:
    """A name as Prefect takes it in keys."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
