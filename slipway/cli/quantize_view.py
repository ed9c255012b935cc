"""What `slipway quantize` tells a person."""

import sys

from rich.console import Console
from rich.table import Table

from slipway.cli.output import complain, say, tell_findings
from slipway.reporting import formatting as fmt
from slipway.reporting import frontier as words
from slipway.reporting.quantized import calibration
from slipway.reports import Frontier, QuantizeReport


def print_quantized(report: QuantizeReport) -> None:
    """What was delivered and how it was made, or what comes nearest, and everything tried."""
    if report.passed:
        say(f"{report.model}: {report.precision}, {fmt.size(report.size_bytes)}, {report.digest}")
        for name, value in report.settings.items():
            say(f"  {name}: {value}")
        if (made_for := report.made_for) is not None:
            say(f"  made for: onnxruntime {made_for.onnxruntime} on {made_for.architecture} alone")
    else:
        complain(str(report.reason))
        for point in report.nearest:
            say(f"nearest: {point.label}: {words.words(report.frontier, point)}")
    if report.calibration is not None:
        say(f"calibration: {calibration(report.calibration)}")
    _print_points(report.frontier)
    for precision, reason in report.not_made.items():
        say(f"not made: {precision}: {reason}")
    tell_findings((*(report.scales.findings if report.scales else ()), *report.findings))


def _print_points(frontier: Frontier) -> None:
    table = Table()
    for heading in ("tried", "budget", words.loss_name(frontier), "latency", "size", "beaten"):
        table.add_column(heading)
    for point in frontier.points:
        table.add_row(
            point.label,
            "met" if point.within_budget else "missed",
            words.loss(frontier, point),
            words.latency(point),
            fmt.size(point.size_bytes),
            "by none" if point.efficient else "",
        )
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
