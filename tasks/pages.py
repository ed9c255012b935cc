"""What a run leaves in the Prefect UI: a table of variants, a summary, a link to the registry."""

import re

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)

from slipway.promotion.pages import promotion_markdown
from slipway.promotion.records import PromotionReport
from slipway.reporting.markdown import summary_markdown, variants_table
from slipway.reports import BundleReport, Evidence, RegisteredVersion


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


def publish_promotion(report: PromotionReport) -> None:
    """What became of a promotion or a rollback; one key an alias, so that the UI shows history."""
    create_markdown_artifact(
        key=f"alias-{_slug(report.name)}-{_slug(report.alias)}",
        markdown=promotion_markdown(report),
        description=report.verdict,
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
