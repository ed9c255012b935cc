"""The stages of a regression beside those of a release: on record, and on one page."""

import time
from pathlib import Path

from slipway.registries import open_registry
from slipway.reporting.trends import render_trends
from slipway.reports import (
    Advisory,
    NightlyReport,
    RegressionReport,
    SeriesPoint,
)
from slipway.settings import Settings
from slipway.specs import RegressionSpec
from slipway.stages import advisories
from slipway.stages.pages import replace_page


def find_advisories(request: RegressionSpec, tools: dict[str, str]) -> tuple[Advisory, ...]:
    """What the package index says against today's tools, where it is to be asked."""
    if request.advisories == "off":
        return ()
    return advisories.find_advisories(tools, index=Settings().package_index)


def record_measures(request: RegressionSpec, report: RegressionReport) -> None:
    """Add what was measured of a model to its series in the registry."""
    point = SeriesPoint(at_s=time.time(), measures=report.measures)
    open_registry(Settings().registry_uri).record(report.name, request.series, point)


def write_trends(request: RegressionSpec, report: NightlyReport) -> Path:
    """The page of all models' series with the latest verdicts, in the home's `reports`."""
    registry = open_registry(Settings().registry_uri)
    series = {model.name: registry.recorded(model.name, request.series) for model in report.models}
    return replace_page(f"{request.series}.html", render_trends(report, series))
