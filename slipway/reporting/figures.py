"""The report's plots as files of their own, for pages that show pictures beside a release."""

import re
from functools import cache
from importlib import resources
from typing import Final

from markupsafe import Markup, escape

from slipway.reporting import plots
from slipway.reporting.html import frontier_panels, latency_panels, load_panels
from slipway.reports import Evidence

_WIDTH: Final = 760
_MARGIN: Final = 20


def figure_files(evidence: Evidence) -> dict[str, str]:
    """SVG documents by file name; equal evidence gives equal ones."""
    figures: dict[str, Markup | None] = {"metric": plots.metric_plot(evidence)}
    figures["size"] = plots.size_plot(evidence.variants)
    for panel in latency_panels(evidence):
        figures[f"latency-{panel.provider}-batch-{panel.batch_size}"] = panel.plot
    for frontier in frontier_panels(evidence):
        figures[f"frontier-{frontier.frontier.provider or 'size'}"] = frontier.plot
    for load in load_panels(evidence):
        figures[f"throughput-{load.provider}"] = load.plot
    return {
        re.sub(r"[^A-Za-z0-9-]+", "-", name) + ".svg": _document(svg)
        for name, svg in figures.items()
        if svg is not None
    }


def _document(figure: Markup) -> str:
    """A plot that is as wide as its place, in a place of its own: with style and a margin."""
    height = next(int(found[1]) for found in re.finditer(r' height="(\d+)"', figure))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 2 * _MARGIN}" '
        f'height="{height + 2 * _MARGIN}" font-family="sans-serif">'
        f"<style>{_style()}</style>"
        '<rect width="100%" height="100%" style="fill: var(--card)"/>'
        f'<svg x="{_MARGIN}" y="{_MARGIN}" width="{_WIDTH}" height="{height}">{figure}</svg></svg>'
    )


@cache
def _style() -> Markup:
    return escape(resources.files("slipway.reporting").joinpath("report.css").read_text("utf-8"))
