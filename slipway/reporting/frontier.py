"""The frontier of accuracy, latency and size: a plot and the words beside it."""

import itertools
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from slipway.reporting import formatting as fmt
from slipway.reporting.plots import Scale, axis, even_labels, figure, group, mark, number
from slipway.reports import Frontier, FrontierPoint
from slipway.specs import LOWER_IS_BETTER

_HEIGHT: Final = 240
_AXIS: Final = 24
_TOP: Final = 26
# Where a label would leave the plot on the right it stands left of its point.
_RIGHT: Final = 70.0


def measured(frontier: Frontier) -> tuple[FrontierPoint, ...]:
    """The points that have a place in the plot."""
    return tuple(p for p in frontier.points if p.loss is not None and horizontal(frontier, p))


def horizontal(frontier: Frontier, point: FrontierPoint) -> float | None:
    """Latency beside fp32's where any was measured, else size in MB."""
    if frontier.provider is not None:
        return point.latency_ratio
    return None if point.size_bytes is None else point.size_bytes / 1e6


def frontier_plot(frontier: Frontier) -> Markup | None:
    """Accuracy lost upwards less, latency leftwards less; the line joins what nothing beats.

    None where fewer than two points can be placed.
    """
    points = measured(frontier)
    if len(points) < 2:  # noqa: PLR2004 - one point compares with nothing
        return None
    across = Scale(0.0, max(horizontal(frontier, p) or 0.0 for p in points) * 1.08)
    losses = [p.loss or 0.0 for p in points]
    room = (max(losses) - min(losses)) * 0.1 or max(abs(max(losses)) * 0.1, 1e-6)
    down = Scale(min(0.0, *losses), max(losses) + room)
    placed = [
        (p, across.position(horizontal(frontier, p) or 0.0), _down(down, p.loss or 0.0))
        for p in points
    ]
    parts = [axis(across, _HEIGHT, even_labels(across.ticks())), _levels(down, frontier)]
    parts += _line([(x, y) for p, x, y in sorted(placed, key=_left) if p.efficient])
    parts += [_point(frontier, p, x, y) for p, x, y in placed]
    described = "; ".join(f"{p.label}: {words(frontier, p)}" for p in points)
    unit = "latency, fp32 is 1" if frontier.provider is not None else "size in MB"
    return figure(
        parts,
        _HEIGHT + _AXIS,
        f"Accuracy and latency on {frontier.provider}"
        if frontier.provider is not None
        else "Accuracy and size",
        f"{described}. Across is {unit}, down is {loss_name(frontier)}.",
    )


def loss_name(frontier: Frontier) -> str:
    """What is lost, such as `drop of accuracy` or `relative L2 error`."""
    if frontier.measure == "relative_l2":
        return "relative L2 error"
    rising = "rise" if frontier.measure in LOWER_IS_BETTER else "drop"
    return f"{rising} of {fmt.METRIC_NAMES[frontier.measure]}"


def loss(frontier: Frontier, point: FrontierPoint) -> str:
    """The accuracy lost: `0.4 points` of a percentage, or a number."""
    if point.loss is None:
        return fmt.DASH
    if frontier.measure in fmt.PERCENT_METRICS:
        return f"{point.loss * 100:.2f} points"
    return fmt.scientific(point.loss)


def latency(point: FrontierPoint) -> str:
    """Latency beside fp32's, where it was measured."""
    if point.latency_ratio is None:
        return "not measured"
    return f"{fmt.significant(point.latency_ratio)}{fmt.TIMES}"


def words(frontier: Frontier, point: FrontierPoint) -> str:
    """All three of a point, and whether it is within the budget."""
    within = "within the budget" if point.within_budget else "over the budget"
    size = fmt.size(point.size_bytes)
    lost = f"{loss_name(frontier)} {loss(frontier, point)}"
    return f"{lost}, latency {latency(point)}, {size}, {within}"


def _left(placed: tuple[FrontierPoint, float, int]) -> float:
    return placed[1]


def _down(scale: Scale, value: float) -> int:
    return round(_TOP + scale.position(value) / 100 * (_HEIGHT - _TOP - 12))


def _levels(scale: Scale, frontier: Frontier) -> Markup:
    percent = frontier.measure in fmt.PERCENT_METRICS
    ticks = scale.ticks()
    labels = even_labels([tick * 100 for tick in ticks] if percent else list(ticks))
    parts = [
        Markup(
            '<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
            '<text class="tick" x="0" y="{above}">{label}</text>'
        ).format(y=_down(scale, tick), above=_down(scale, tick) - 4, label=label)
        for tick, label in zip(ticks, labels, strict=True)
    ]
    return Markup().join(parts)


def _line(places: Sequence[tuple[float, int]]) -> list[Markup]:
    pairs = itertools.pairwise(places)
    return [
        Markup('<line class="reference" x1="{}%" y1="{}" x2="{}%" y2="{}"/>').format(
            number(x1), y1, number(x2), y2
        )
        for (x1, y1), (x2, y2) in pairs
    ]


def _point(frontier: Frontier, point: FrontierPoint, x: float, y: int) -> Markup:
    kind = "p50" if point.within_budget else "p95"
    anchor, shift = ("end", -10) if x > _RIGHT else ("start", 10)
    label = Markup(
        '<svg x="{}%" y="{}" overflow="visible"><text class="name" x="{}" y="4" '
        'text-anchor="{}">{}</text></svg>'
    ).format(number(x), y, shift, anchor, point.label)
    tip = f"{point.label}: {words(frontier, point)}"
    return group(point.precision, [mark(kind, x, y, tip), label])
