"""Plots as inline SVG, written by hand: they need no script, no font and no image.

Horizontal positions are percentages and vertical ones pixels, so that a plot fills whatever width
it is given while its text keeps its size. Colours come from the page's CSS, by class.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slipway.reporting import cells
from slipway.reporting import formatting as fmt
from slipway.reports import BenchmarkReport, Evidence, VariantReport
from slipway.specs import LOWER_IS_BETTER, Metric

# Beyond this spread a linear axis squeezes the fast variants into one spot.
LOG_FROM: Final = 10.0

_LANE: Final = {"p50": 27, "p95": 38, "p99": 49}
_LATENCY_ROW: Final = 74
_BAR_ROW: Final = 42
_AXIS: Final = 24
_MARK: Final = {
    "p50": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",
    "p95": "M0 -5.5L5.5 0L0 5.5L-5.5 0Z",
    "p99": "M-4 -4H4V4H-4Z",
}


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` onto percentages of the plot's width."""

    low: float
    high: float
    logarithmic: bool = False

    def position(self, value: float) -> float:
        """Where a value stands, in percent; values outside are held at the edge."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (at - low) / (high - low)
        return min(max(share, 0.0), 1.0) * 100

    def ticks(self) -> tuple[float, ...]:
        """At most six round values inside the range, ascending."""
        return _log_ticks(self.low, self.high) if self.logarithmic else self._even_ticks()

    def _even_ticks(self) -> tuple[float, ...]:
        step = _nice_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))


def latency_scale(rows: Sequence[BenchmarkReport]) -> Scale:
    """From zero to the longest latency or interval; logarithmic where they differ widely."""
    found = [cells.percentile(row, name) for row in rows for name in cells.PERCENTILES]
    ends = [
        end
        for estimate in found
        for end in (estimate.value_ms, estimate.low_ms, estimate.high_ms)
        if end is not None and math.isfinite(end) and end > 0
    ]
    if not ends:
        return Scale(0.0, 1.0)
    low, high = min(ends), max(ends)
    if high / low > LOG_FROM:
        return Scale(low * 0.9, high * 1.1, logarithmic=True)
    return Scale(0.0, high * 1.04)


def latency_plot(rows: Sequence[BenchmarkReport], *, title: str) -> Markup:
    """Percentiles with their confidence intervals: one row a variant, three lanes a row.

    The dashed line is the baseline's p50. Rows are of one provider and one batch size.
    """
    scale = latency_scale(rows)
    bottom = len(rows) * _LATENCY_ROW
    parts = [axis(scale, bottom, _latency_ticks(scale))]
    baseline = next((row.p50.value_ms for row in rows if row.verdict == "baseline"), None)
    if baseline is not None and math.isfinite(baseline):
        parts.append(vertical("reference", scale.position(baseline), 0, bottom))
    for index, row in enumerate(rows):
        parts.append(_latency_row(row, scale, index * _LATENCY_ROW))
    described = "; ".join(
        f"{row.precision}: "
        + ", ".join(f"{name} {cells.latency(row, name)}" for name in cells.PERCENTILES)
        for row in rows
    )
    kind = "logarithmic" if scale.logarithmic else "linear"
    return figure(parts, bottom + _AXIS, title, f"{described}. The {kind} axis is milliseconds.")


def _latency_row(row: BenchmarkReport, scale: Scale, top: int) -> Markup:
    note = "" if row.verdict == "baseline" else f" \u00b7 {cells.speed(row)}"
    parts = [_label(row.precision, f"{fmt.milliseconds(row.p50.value_ms)}{note}", top)]
    for name in reversed(cells.PERCENTILES):
        found = cells.percentile(row, name)
        if found.value_ms is None or not math.isfinite(found.value_ms):
            continue
        y = top + _LANE[name]
        if found.low_ms is not None and found.high_ms is not None:
            parts.append(_whisker(scale.position(found.low_ms), scale.position(found.high_ms), y))
        tip = f"{row.precision} {name}: {cells.latency(row, name)}"
        parts.append(mark(name, scale.position(found.value_ms), y, tip))
    return group(row.precision, parts)


def size_plot(variants: Sequence[VariantReport]) -> Markup:
    """Model sizes as bars from zero; variants without a model have none."""
    sized = [(variant, variant.model) for variant in variants if variant.model]
    baseline = next((v for v, _ in sized if v.precision == "fp32"), None)
    scale = Scale(0.0, max([model.size_bytes for _, model in sized] + [1]))
    parts, described = [], []
    for index, (variant, model) in enumerate(sized):
        top = index * _BAR_ROW
        note = cells.size_gain(variant, baseline) if baseline else None
        text = fmt.size(model.size_bytes)
        if note and variant is not baseline:
            text = f"{text} \u00b7 {note}"
        bar = Markup('<rect class="bar" x="0" y="{}" width="{}%" height="10" rx="2"/>').format(
            top + 21, number(scale.position(model.size_bytes))
        )
        parts.append(group(variant.precision, [_label(variant.precision, text, top), bar]))
        described.append(f"{variant.precision} {text}")
    return figure(parts, len(sized) * _BAR_ROW, "Model size by variant", "; ".join(described) + ".")


def metric_scale(values: Sequence[float]) -> Scale:
    """The values' range with room at both ends; it does not start at zero."""
    low, high = min(values), max(values)
    room = (high - low) * 0.15 or max(abs(high) * 0.01, 1e-6)
    return Scale(low - room, high + room)


def metric_plot(evidence: Evidence) -> Markup | None:
    """The task metric by variant, with the side that breaks the budget shaded.

    None where no variant has a finite metric.
    """
    measured = [
        (variant, metric, metric.value)
        for variant in evidence.variants
        if (metric := cells.metric_of(variant)) is not None
        and metric.value is not None
        and math.isfinite(metric.value)
    ]
    if not measured:
        return None
    limit = metric_limit(evidence)
    values = [value for *_, value in measured]
    scale = metric_scale(values if limit is None else [*values, limit])
    bottom = len(measured) * _BAR_ROW
    name = measured[0][1].name
    parts = [axis(scale, bottom, _metric_ticks(name, scale))]
    if limit is not None:
        parts.append(_beyond(scale.position(limit), bottom, lower=name in LOWER_IS_BETTER))
    described = []
    for index, (variant, metric, value) in enumerate(measured):
        top = index * _BAR_ROW
        text = cells.metric_figures(variant, metric)
        dot = mark("p50", scale.position(value), top + 26, f"{variant.precision}: {text}")
        parts.append(group(variant.precision, [_label(variant.precision, text, top), dot]))
        described.append(f"{variant.precision} {text}")
    if limit is not None:
        described.append(f"the budget ends at {fmt.metric_value(name, limit)}")
    return figure(
        parts,
        bottom + _AXIS,
        f"{fmt.title(fmt.METRIC_NAMES[name])} by variant",
        "; ".join(described) + ".",
    )


def metric_limit(evidence: Evidence) -> float | None:
    """The worst metric that the budget allows, where a baseline and a budget are known."""
    for variant in evidence.variants:
        metric = cells.metric_of(variant)
        if metric and metric.baseline is not None and math.isfinite(metric.baseline):
            worse = metric.budget if metric.name in LOWER_IS_BETTER else -metric.budget
            return metric.baseline + worse
    return None


# Pieces.


def figure(parts: Sequence[Markup], height: int, title: str, description: str) -> Markup:
    """A plot as wide as its place, with words for those who do not see it."""
    return Markup(
        '<svg class="plot" role="img" width="100%" height="{}">'
        "<title>{}</title><desc>{}</desc>{}</svg>"
    ).format(height, title, description, Markup().join(parts))


def group(precision: str, parts: Sequence[Markup]) -> Markup:
    """Parts in a variant's colour."""
    return Markup('<g class="series series-{}">{}</g>').format(precision, Markup().join(parts))


def _label(name: str, value: str, top: int) -> Markup:
    return Markup(
        '<text class="name" x="0" y="{y}">{name}</text>'
        '<text class="value" x="100%" y="{y}" text-anchor="end">{value}</text>'
    ).format(name=name, value=value, y=top + 14)


def mark(kind: str, x: float, y: int, tip: str) -> Markup:
    """A point: x in percent, y in pixels."""
    return Markup(
        '<svg class="mark {}" x="{}%" y="{}" overflow="visible"><title>{}</title>'
        '<path d="{}"/></svg>'
    ).format(kind, number(x), y, tip, _MARK[kind])


def _whisker(low: float, high: float, y: int) -> Markup:
    return Markup(
        '<line class="whisker" x1="{low}%" x2="{high}%" y1="{y}" y2="{y}"/>'
        '<line class="whisker" x1="{low}%" x2="{low}%" y1="{above}" y2="{below}"/>'
        '<line class="whisker" x1="{high}%" x2="{high}%" y1="{above}" y2="{below}"/>'
    ).format(low=number(low), high=number(high), y=y, above=y - 3, below=y + 3)


def vertical(kind: str, x: float, top: int, bottom: int) -> Markup:
    """A line down the plot."""
    return Markup('<line class="{}" x1="{x}%" x2="{x}%" y1="{}" y2="{}"/>').format(
        kind, top, bottom, x=number(x)
    )


def _beyond(limit: float, bottom: int, *, lower: bool) -> Markup:
    """Shade what is worse than the limit: the right side where lower is better."""
    left, right = (limit, 100.0) if lower else (0.0, limit)
    band = Markup('<rect class="beyond" x="{}%" y="0" width="{}%" height="{}"/>').format(
        number(left), number(right - left), bottom
    )
    return band + vertical("limit", limit, 0, bottom)


def axis(scale: Scale, bottom: int, labels: Sequence[str]) -> Markup:
    """Grid lines with a label under each."""
    parts = []
    for tick, label in zip(scale.ticks(), labels, strict=True):
        x = scale.position(tick)
        anchor = "start" if x < 6 else "end" if x > 94 else "middle"  # noqa: PLR2004 - the edges
        parts.append(vertical("grid", x, 0, bottom))
        parts.append(
            Markup('<text class="tick" x="{}%" y="{}" text-anchor="{}">{}</text>').format(
                number(x), bottom + 16, anchor, label
            )
        )
    return Markup().join(parts)


def _latency_ticks(scale: Scale) -> list[str]:
    if scale.logarithmic:
        return [f"{tick:,.12g}" for tick in scale.ticks()]
    return even_labels(scale.ticks())


def _metric_ticks(name: Metric, scale: Scale) -> list[str]:
    if name in fmt.PERCENT_METRICS:
        return [f"{label} %" for label in even_labels([tick * 100 for tick in scale.ticks()])]
    return even_labels(scale.ticks())


def even_labels(values: Sequence[float]) -> list[str]:
    """Labels with just the digits that tell neighbours apart; zero is `0`."""
    step = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{v:,.{decimals}f}".replace("-", fmt.MINUS) if v else "0" for v in values]


def _nice_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is no less than `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5 per decade, or 1 alone, or every few decades: the finest of at most six."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [float(f"{f}e{d}") for d in decades for f in (1, 2, 5)]
    inside = [tick for tick in fine if low <= tick <= high]
    if len(inside) <= 6:  # noqa: PLR2004 - what a narrow screen has room for
        return tuple(inside)
    whole = [float(f"1e{d}") for d in decades if low <= 10.0**d <= high]
    return tuple(whole[:: math.ceil(len(whole) / 6)])


def number(value: float) -> str:
    """At most three decimals, no trailing zeros: equal numbers give equal bytes."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
