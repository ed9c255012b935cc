"""The stages of a regression beside those of a release: side by side, on record, on one page."""

import secrets
import time
from pathlib import Path
from typing import Final

from slipway.artifacts import ArtifactRef
from slipway.protocols import BenchmarkRequest
from slipway.registries import open_registry
from slipway.reporting.trends import render_trends
from slipway.reports import (
    Advisory,
    BenchmarkSuite,
    NightlyReport,
    RegressionReport,
    SeriesPoint,
)
from slipway.settings import Settings
from slipway.specs import RegressionSpec, ReleaseSpec
from slipway.stages import advisories
from slipway.stages.followed import FRESH, PROMOTED
from slipway.stages.workspace import Workspace

SERIES: Final = "regression"
PAGE: Final = "regression.html"


def pair_models(
    spec: ReleaseSpec, provider: str, promoted: ArtifactRef, fresh: ArtifactRef, golden: ArtifactRef
) -> BenchmarkSuite:
    """Measure two sets of bytes of one variant on one provider, interleaved."""
    options = spec.benchmark.model_copy(
        update={"scenarios": ("single-stream",), "sweep": None, "arrival_rate": None}
    )
    with Workspace() as work:
        return work.run(
            "slipway.benchmarking.harness:measure",
            BenchmarkRequest(
                models={
                    PROMOTED: work.fetch_model(promoted, PROMOTED),
                    FRESH: work.fetch_model(fresh, FRESH),
                },
                golden=work.fetch(golden, "golden.npz"),
                provider=provider,
                options=options,
            ),
            returns=BenchmarkSuite,
            what=f"the comparison on {provider}",
        )


def find_advisories(request: RegressionSpec, tools: dict[str, str]) -> tuple[Advisory, ...]:
    """What the package index says against today's tools, where it is to be asked."""
    if request.advisories == "off":
        return ()
    return advisories.find_advisories(tools, index=Settings().package_index)


def record_measures(report: RegressionReport) -> None:
    """Add what was measured of a model to its series in the registry."""
    point = SeriesPoint(at_s=time.time(), measures=report.measures)
    open_registry(Settings().registry_uri).record(report.name, SERIES, point)


def write_trends(report: NightlyReport) -> Path:
    """The page of all models' series with the latest verdicts, in the home's `reports`."""
    settings = Settings()
    registry = open_registry(settings.registry_uri)
    series = {model.name: registry.recorded(model.name, SERIES) for model in report.models}
    folder = settings.root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PAGE
    temporary = path.with_name(f".{PAGE}.{secrets.token_hex(8)}")
    temporary.write_text(render_trends(report, series), encoding="utf-8")
    temporary.replace(path)
    return path
