"""What `slipway quantize` found, as one HTML page: the verdict, the frontier, how it was made."""

from typing import Final

from slipway.reporting import formatting
from slipway.reporting import frontier as words
from slipway.reporting.html import frontier_panel, template
from slipway.reports import CalibrationTally, QuantizeReport

TEMPLATE: Final = "quantized.html.j2"


def render_quantized(report: QuantizeReport) -> str:
    """The report as one HTML document that needs nothing else; equal reports, equal bytes."""
    return template(TEMPLATE).render(
        found=report,
        headline=headline(report),
        explanation=explanation(report),
        panel=frontier_panel(report.frontier),
        calibration=calibration(report.calibration),
        findings=(*(report.scales.findings if report.scales else ()), *report.findings),
    )


def headline(report: QuantizeReport) -> str:
    """The outcome in a few words."""
    return str(report.precision) if report.passed else "Nothing within the budget"


def explanation(report: QuantizeReport) -> str:
    """What was written, and what it costs; or what comes nearest to the budget."""
    if not report.passed:
        near = "; ".join(f"{p.label}: {words.words(report.frontier, p)}" for p in report.nearest)
        return f"{report.reason}. Nearest: {near}." if near else f"{report.reason}."
    # What was tried on the way comes before what was kept.
    point = [p for p in report.frontier.points if p.precision == report.precision][-1]
    written = f"{report.model.name if report.model else ''}, {formatting.size(report.size_bytes)}"
    return f"Written to {written}: {words.words(report.frontier, point)}."


def calibration(tally: CalibrationTally | None) -> str:
    """How many samples the ranges are of, and what of it was done before."""
    if tally is None:
        return formatting.DASH
    before = f", {tally.resumed} of them counted before" if tally.resumed else ""
    return f"{tally.samples} samples{before}, {tally.batches} batches run"
