"""What a run leaves in the Prefect UI: a table of variants, a summary, a link to the registry."""

import re

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL
from prefect.utilities.urls import url_for

from slipway.reporting.markdown import summary_markdown, variants_table
from slipway.reports import BundleReport, Evidence, RegisteredVersion


def run_link() -> dict[str, str]:
    """The address of the flow run that asks, by its text; nothing where nobody could open it.

    Without a configured API the server lasts as long as the run, and its pages no longer.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or PREFECT_API_URL.value() is None:
        return {}
    page = url_for("flow-run", obj_id=context.flow_run.id)
    return {"Prefect run": page} if page else {}


def publish_pages(
    evidence: Evidence, bundle: BundleReport | None, registered: RegisteredVersion | None
) -> None:
    """Create the artifacts; the same keys each time, so that the UI shows their history."""
    slug = re.sub(r"[^a-z0-9]+", "-", evidence.name.lower()).strip("-")
    create_table_artifact(
        key=f"variants-{slug}",
        table=variants_table(evidence),
        description=f"Variants of {evidence.name}",
    )
    create_markdown_artifact(
        key=f"release-{slug}",
        markdown=summary_markdown(evidence),
        description=f"Release of {evidence.name}",
    )
    if bundle is not None and registered is not None:
        create_link_artifact(
            key=f"registry-{slug}",
            link=registered.url or f"models:/{registered.name}/{registered.version}",
            link_text=f"{registered.name} version {registered.version} in MLflow",
            description=f"Bundle {bundle.digest}",
        )
