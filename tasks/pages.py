"""What a run leaves in the Prefect UI: a table of variants, a summary, a link to the registry."""

import re

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from slipway.reporting.failure import failure_markdown
from slipway.reporting.markdown import summary_markdown, variants_table
from slipway.reports import BundleReport, Evidence, ExportFailure, RegisteredVersion


def publish_pages(
    evidence: Evidence, bundle: BundleReport | None, registered: RegisteredVersion | None
) -> None:
    """Create the artifacts; the same keys each time, so that the UI shows their history."""
    slug = _slug(evidence.name)
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


def publish_failure(failure: ExportFailure) -> None:
    """Create the artifact of a release whose source could not be exported."""
    create_markdown_artifact(
        key=f"release-{_slug(failure.name)}",
        markdown=failure_markdown(failure),
        description=f"Release of {failure.name}",
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
