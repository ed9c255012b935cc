"""What a run leaves in the Prefect UI: tables of variants and latencies, a summary, a link."""

import re

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from slipway.reporting.markdown import summary_markdown, variants_table
from slipway.reporting.measurements import conditions_sentence, measurements_table
from slipway.reports import BenchmarkSuite, BundleReport, Evidence, RegisteredVersion


def publish_pages(
    evidence: Evidence, bundle: BundleReport | None, registered: RegisteredVersion | None
) -> None:
    """Create the artifacts; the same keys each time, so that the UI shows their history."""
    name = slug(evidence.name)
    create_table_artifact(
        key=f"variants-{name}",
        table=variants_table(evidence),
        description=f"Variants of {evidence.name}",
    )
    create_markdown_artifact(
        key=f"release-{name}",
        markdown=summary_markdown(evidence),
        description=f"Release of {evidence.name}",
    )
    if bundle is not None and registered is not None:
        create_link_artifact(
            key=f"registry-{name}",
            link=registered.url or f"models:/{registered.name}/{registered.version}",
            link_text=f"{registered.name} version {registered.version} in MLflow",
            description=f"Bundle {bundle.digest}",
        )


def publish_suite(name: str, suite: BenchmarkSuite) -> None:
    """A provider's latencies of one model; the key is theirs, which gives them a history."""
    create_table_artifact(
        key=f"benchmark-{slug(name)}-{suite.provider}",
        table=measurements_table(suite),
        description=conditions_sentence(suite),
    )


def slug(name: str) -> str:
    """A name as Prefect takes it in keys."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
