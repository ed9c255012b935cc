"""Latency against throughput, a line a variant, a dot a batch size: inline SVG like `plots`."""

import itertools
import math
from collections.abc import Sequence

from markupsafe import Markup

from slipway.reporting import formatting as fmt
from slipway.reporting.plots import Scale
from slipway.reports import ScenarioReport

HEIGHT = 220
AXIS = 24
LEFT, RIGHT = 8.0, 94.0
"""Where the plot's area begins and ends, in percent: dots at the edges keep their labels."""


def throughput_plot(rows: Sequence[ScenarioReport], *, title: str) -> Markup:
    """Offline rows: p50 of a batch to the right, samples per second upwards, both logarithmic."""
    known = [row for row in rows if fmt.is_number(row.p50.value_ms) and row.throughput > 0]
    if not known:
        return Markup()
    across = _scale([row.p50.value_ms or 0.0 for row in known])
    upward = _scale([row.throughput for row in known])
    parts = [_axis(across)]
    described = []
    for label in dict.fromkeys(row.precision for row in known):
        dots = [
            (
                LEFT + across.position(row.p50.value_ms or 0.0) * (RIGHT - LEFT) / 100,
                HEIGHT - 14 - upward.position(row.throughput) * (HEIGHT - 40) / 100,
                row,
            )
            for row in known
            if row.precision == label
        ]
        parts.append(_line(label, dots))
        described.append(f"{label}: " + "; ".join(_told(row) for _, _, row in dots))
    return Markup(
        '<svg class="plot" role="img" width="100%" height="{}">'
        "<title>{}</title><desc>{}. Both axes are logarithmic.</desc>{}</svg>"
    ).format(HEIGHT + AXIS, title, ". ".join(described), Markup().join(parts))


def _scale(values: Sequence[float]) -> Scale:
    return Scale(min(values) * 0.9, max(values) * 1.1, logarithmic=True)


def _axis(scale: Scale) -> Markup:
    parts = []
    for tick in scale.ticks():
        x = LEFT + scale.position(tick) * (RIGHT - LEFT) / 100
        parts.append(
            Markup(
                '<line class="grid" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{y}"/>'
                '<text class="tick" x="{x:.3f}%" y="{below}" text-anchor="middle">{tick}</text>'
            ).format(x=x, y=HEIGHT, below=HEIGHT + 16, tick=f"{tick:,.12g}")
        )
    return Markup().join(parts)


def _line(label: str, dots: Sequence[tuple[float, float, ScenarioReport]]) -> Markup:
    parts = [
        Markup('<line class="whisker" x1="{:.3f}%" y1="{:.2f}" x2="{:.3f}%" y2="{:.2f}"/>').format(
            x1, y1, x2, y2
        )
        for (x1, y1, _), (x2, y2, _) in itertools.pairwise(dots)
    ]
    for x, y, row in dots:
        parts.append(
            Markup(
                '<svg class="mark p50" x="{x:.3f}%" y="{y:.2f}" overflow="visible">'
                '<title>{tip}</title><path d="M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z"/></svg>'
                '<text class="tick" x="{x:.3f}%" y="{above:.2f}" text-anchor="middle">'
                "{batch}</text>"
            ).format(x=x, y=y, above=y - 8, batch=row.batch_size, tip=f"{label}, {_told(row)}")
        )
    return Markup('<g class="series series-{}">{}</g>').format(label, Markup().join(parts))


def _told(row: ScenarioReport) -> str:
    throughput = f"{row.throughput:,.0f}" if math.isfinite(row.throughput) else fmt.DASH
    return f"batch {row.batch_size} {fmt.estimate(row.p50)}, {throughput} samples/s"
