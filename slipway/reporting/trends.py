"""The page of trends: every promoted model's figures over the nights, one HTML file.

Each figure is a small line plot of its own; a night that regressed is marked. Rendered from values
alone: equal values give equal bytes.
"""

import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slipway.reporting import formatting as fmt
from slipway.reporting import regression
from slipway.reporting.html import template
from slipway.reporting.plots import metric_scale, number
from slipway.reports import NightlyReport, RegressionReport, SeriesPoint

TEMPLATE: Final = "trends.html.j2"
HEIGHT: Final = 96
_TOP, _BOTTOM = 10, 78
_LEFT, _RIGHT = 19.0, 98.0


@dataclass(frozen=True)
class Trend:
    """One figure over time."""

    name: str
    latest: str
    plot: Markup


@dataclass(frozen=True)
class ModelTrends:
    """One model: its latest report and its figures."""

    report: RegressionReport
    nights: int
    trends: tuple[Trend, ...]


def render_trends(report: NightlyReport, series: Mapping[str, Sequence[SeriesPoint]]) -> str:
    """The page as one HTML document that needs nothing else.

    Args:
        report: The latest run.
        series: Each model's points, oldest first.
    """
    models = [
        ModelTrends(model, len(series.get(model.name, ())), _trends(series.get(model.name, ())))
        for model in report.models
    ]
    return template(TEMPLATE).render(report=report, models=models, words=regression)


def _trends(points: Sequence[SeriesPoint]) -> tuple[Trend, ...]:
    names = dict.fromkeys(name for point in points for name in sorted(point.measures))
    return tuple(_trend(name, points) for name in names)


def _trend(name: str, points: Sequence[SeriesPoint]) -> Trend:
    known = [(point.at_s, point.measures[name]) for point in points if name in point.measures]
    return Trend(name=name, latest=figure_text(name, known[-1][1]), plot=line_plot(name, known))


def line_plot(name: str, values: Sequence[tuple[float, float]]) -> Markup:
    """Values by time, oldest at the left; the value axis covers what there is, not zero.

    Args:
        name: What is plotted, for those who do not see it.
        values: Pairs of seconds since 1970 and value, in order; at least one.
    """
    scale = metric_scale([value for _, value in values])
    start, end = values[0][0], values[-1][0]
    dots = [
        (
            _LEFT + (_RIGHT - _LEFT) * ((at - start) / (end - start) if end > start else 1.0),
            _BOTTOM - (_BOTTOM - _TOP) * scale.position(value) / 100,
            f"{_day(at)}: {figure_text(name, value)}",
        )
        for at, value in values
    ]
    parts = [_grid(scale.position(tick), figure_text(name, tick)) for tick in _few(scale.ticks())]
    parts += [
        Markup('<line class="trend" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(
            number(x), number(y), number(onward), number(down)
        )
        for (x, y, _), (onward, down, _) in itertools.pairwise(dots)
    ]
    parts += [
        Markup('<circle class="night" cx="{}%" cy="{}" r="3"><title>{}</title></circle>').format(
            number(x), number(y), told
        )
        for x, y, told in dots
    ]
    parts += _days(start, end)
    told = "; ".join(told for _, _, told in dots)
    return Markup(
        '<svg class="plot" role="img" width="100%" height="{}"><title>{}</title>'
        "<desc>{}</desc>{}</svg>"
    ).format(HEIGHT, f"{name} over time", told, Markup().join(parts))


def figure_text(name: str, value: float) -> str:
    """A figure as its name asks for it."""
    kind = name.rpartition("/")[2]
    if kind == "size_bytes":
        return fmt.size(round(value))
    if kind == "regressions":
        return fmt.significant(value)
    if kind == "latency_ratio":
        return fmt.times(value)
    if kind == "p50_ms":
        return fmt.milliseconds(value)
    if kind == "max_abs_error":
        return fmt.scientific(value)
    return fmt.significant(value, 4)


def _few(ticks: Sequence[float]) -> Sequence[float]:
    return ticks if len(ticks) <= 3 else (ticks[0], ticks[-1])  # noqa: PLR2004 - a low plot


def _grid(position: float, label: str) -> Markup:
    y = _BOTTOM - (_BOTTOM - _TOP) * position / 100
    return Markup(
        '<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        '<text class="tick" x="0" y="{above}">{label}</text>'
    ).format(y=number(y), above=number(y - 4), label=label)


def _days(start: float, end: float) -> list[Markup]:
    first = Markup('<text class="tick" x="0" y="{}">{}</text>').format(HEIGHT - 3, _day(start))
    last = Markup('<text class="tick" x="100%" y="{}" text-anchor="end">{}</text>').format(
        HEIGHT - 3, _day(end)
    )
    return [first, last] if _day(start) != _day(end) else [last]


def _day(at_s: float) -> str:
    return dt.datetime.fromtimestamp(at_s, tz=dt.UTC).strftime("%Y-%m-%d")
