"""The HTML report: one file that needs nothing else, for a bundle, a browser and a printer.

Sentences come from `summary`, pictures from `plots`, the page from `report.html.j2`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from slipway.reporting import cells, formatting, frontier, plots, summary
from slipway.reporting.throughput_plot import throughput_plot
from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    Diagnosis,
    Divergence,
    Evidence,
    Finding,
    Frontier,
    Provenance,
    VariantReport,
)

TEMPLATE: Final = "report.html.j2"


@dataclass(frozen=True)
class LatencyPanel:
    """One plot: all variants on one provider at one batch size."""

    provider: str
    batch_size: int
    plot: Markup
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FrontierPanel:
    """A frontier that has something to compare, and its plot if it can be drawn."""

    frontier: Frontier
    plot: Markup | None


@dataclass(frozen=True)
class LoadPanel:
    """Latency against throughput on one provider, and what was recommended there."""

    provider: str
    plot: Markup
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PlacedFinding:
    """A finding with everywhere that it was made, so that it is told once."""

    finding: Finding
    places: tuple[str, ...]


def render_report(evidence: Evidence, *, provenance: Provenance) -> str:
    """The report as one HTML document; equal evidence gives equal bytes.

    All text is escaped, nothing outside the file is named, and the document's own policy forbids
    scripts and requests, so that a hostile model name stays text.
    """
    return template(TEMPLATE).render(
        evidence=evidence,
        provenance=provenance,
        panels=latency_panels(evidence),
        sizes=plots.size_plot(evidence.variants),
        metrics=plots.metric_plot(evidence),
        frontiers=frontier_panels(evidence),
        loads=load_panels(evidence),
        findings=placed_findings(evidence),
        benchmarked=benchmark_rows(evidence),
    )


@cache
def template(name: str) -> Template:
    """A page's template: it escapes all text, and refuses a name that it was not given."""
    environment = Environment(
        loader=PackageLoader("slipway.reporting", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(cells=cells, fmt=formatting, frontier=frontier, summary=summary)
    return environment.get_template(name)


def benchmark_rows(evidence: Evidence) -> tuple[BenchmarkReport, ...]:
    """Every measurement, ordered by provider, batch size and the order of the variants."""
    rows = [row for variant in evidence.variants for row in variant.benchmarks]
    return tuple(sorted(rows, key=lambda row: (row.provider, row.batch_size)))


def latency_panels(evidence: Evidence) -> tuple[LatencyPanel, ...]:
    """One panel per provider and batch size."""
    rows = benchmark_rows(evidence)
    keys = dict.fromkeys((row.provider, row.batch_size) for row in rows)
    return tuple(
        _panel(provider, batch, tuple(r for r in rows if (r.provider, r.batch_size) == key))
        for key in keys
        for provider, batch in [key]
    )


def frontier_panels(evidence: Evidence) -> tuple[FrontierPanel, ...]:
    """One panel per frontier of more than one point."""
    return tuple(frontier_panel(found) for found in evidence.frontiers if len(found.points) > 1)


def frontier_panel(found: Frontier) -> FrontierPanel:
    """The frontier with its plot."""
    return FrontierPanel(found, frontier.frontier_plot(found))


def load_panels(evidence: Evidence) -> tuple[LoadPanel, ...]:
    """One panel for each provider that growing batches were measured on."""
    found = []
    for suite in evidence.suites:
        rows = suite.sweep.batches if suite.sweep and suite.sweep.batches else suite.scenarios
        offline = [row for row in rows if row.scenario == "offline"]
        notes = tuple(_load_notes(suite))
        if offline or notes:
            title = f"Latency against throughput on {suite.provider}"
            plot = throughput_plot(offline, title=title)
            found.append(LoadPanel(provider=suite.provider, plot=plot, notes=notes))
    return tuple(found)


def _load_notes(suite: BenchmarkSuite) -> Iterator[str]:
    """What was recommended, and how samples that arrive by themselves were answered."""
    if suite.sweep is not None:
        found = suite.sweep
        yield (
            f"Recommended for {found.precision}: "
            f"{formatting.count(found.settings.intra_op_threads, 'thread')}, "
            f"{found.settings.execution_mode} execution, "
            f"graph optimization {found.settings.graph_optimization}."
        )
        if found.best_batch_size is not None:
            yield f"Throughput saturates at batch size {found.best_batch_size}."
        if found.largest_within_slo is not None:
            yield (
                f"Batch size {found.largest_within_slo} is the largest that keeps the p99 within "
                "the SLO at the asked arrival rate."
            )
    for row in suite.scenarios:
        if row.scenario == "server" and row.arrival_rate is not None:
            p99 = (
                formatting.estimate(row.p99)
                if formatting.is_number(row.p99.value_ms)
                else "not estimable from so few samples"
            )
            yield (
                f"{row.precision}, batch size {row.batch_size}, "
                f"{formatting.significant(row.arrival_rate)} samples/s arriving: p99 {p99}."
            )


def _panel(provider: str, batch_size: int, rows: tuple[BenchmarkReport, ...]) -> LatencyPanel:
    title = f"Latency on {provider} with batch size {batch_size}"
    return LatencyPanel(
        provider=provider,
        batch_size=batch_size,
        plot=plots.latency_plot(rows, title=title),
        notes=tuple(_notes(rows)),
    )


def _notes(rows: tuple[BenchmarkReport, ...]) -> Iterator[str]:
    """What the plot cannot show: percentiles without an estimate, and disturbed windows."""
    for name in cells.PERCENTILES:
        missing = [
            row for row in rows if not formatting.is_number(cells.percentile(row, name).value_ms)
        ]
        for text in dict.fromkeys(cells.why_not_estimable(row, name) for row in missing):
            names = [r.precision for r in missing if cells.why_not_estimable(r, name) == text]
            of = "" if len(names) == len(rows) else f" of {', '.join(names)}"
            yield f"{name}{of}: {text}."
    noisy = [row.precision for row in rows if row.noisy]
    if noisy:
        yield f"Other load disturbed the measurement of {', '.join(noisy)}."


def placed_findings(evidence: Evidence) -> tuple[PlacedFinding, ...]:
    """All findings, errors first, each once with the places it was made at."""
    places: dict[Finding, list[str]] = {}
    for place, finding in _every_finding(evidence):
        places.setdefault(finding, []).append(place)
    ordered = sorted(places, key=lambda finding: finding.level != "error")
    return tuple(
        PlacedFinding(finding, tuple(dict.fromkeys(places[finding]))) for finding in ordered
    )


def _every_finding(evidence: Evidence) -> Iterator[tuple[str, Finding]]:
    for finding in evidence.export.findings:
        yield "export", finding
    for variant in evidence.variants:
        for finding in _variant_findings(variant):
            yield variant.precision, finding


def _variant_findings(variant: VariantReport) -> Iterator[Finding]:
    if variant.validation:
        yield from variant.validation.check.findings
        if variant.validation.diagnosis:
            yield _told(variant.validation.diagnosis)
        if variant.validation.divergence:
            yield _located(variant.validation.divergence)
    yield from variant.conversion.findings
    if variant.conversion.scales:
        yield from variant.conversion.scales.findings


def _located(divergence: Divergence) -> Finding:
    sentence = divergence.sentence
    return Finding(
        level="error",
        code=f"diverges-from-{divergence.against}",
        message=f"{sentence[:1].upper()}{sentence[1:]}.",
        place=divergence.node,
    )


def _told(diagnosis: Diagnosis) -> Finding:
    shown = ", ".join(f"{key} {value}" for key, value in diagnosis.evidence.items())
    return Finding(
        level="error",
        code=f"diagnosis-{diagnosis.kind}",
        message=diagnosis.sentence,
        place=shown or None,
    )
