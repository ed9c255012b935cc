"""What accuracy, latency and size can be had together: every variant, beside the others."""

import math
from collections.abc import Container, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from slipway.reports import (
    Attempt,
    BenchmarkReport,
    Frontier,
    FrontierPoint,
    ParityReport,
    VariantReport,
)
from slipway.specs import QUANTIZED, Metric, Precision


@dataclass(frozen=True)
class _Cost:
    """The three that are weighed; None where one is not known."""

    loss: float | None
    latency: float | None
    size: int | None


def build_frontier(
    variants: Sequence[VariantReport], rows: Sequence[BenchmarkReport], *, provider: str | None
) -> Frontier:
    """All variants that were judged, and what was tried on the way to them.

    Accuracy is the metric's drop from the baseline's, or where there is no metric the relative L2
    error of the worst output. Latency is the ratio to fp32 at the smallest batch measured.
    """
    metric = _metric_name(variants)
    smallest = min((row.batch_size for row in rows), default=1)
    ratios = {row.precision: row.ratio for row in rows if row.batch_size == smallest}
    if "fp32" in ratios:
        ratios["fp32"] = 1.0
    points = [
        point
        for variant in variants
        for point in _points(variant, ratios.get(variant.precision), metric)
    ]
    return Frontier(
        provider=provider,
        measure=metric or "relative_l2",
        points=tuple(_with_efficiency(points)),
    )


def beaten_statics(frontier: Frontier) -> AbstractSet[Precision]:
    """int8-static where int8-dynamic is both more accurate and faster: never to be chosen."""
    passed = {p.precision: p for p in frontier.points if p.within_budget}
    static, dynamic = passed.get("int8-static"), passed.get("int8-dynamic")
    if static is None or dynamic is None:
        return frozenset()
    pairs = ((static.loss, dynamic.loss), (static.latency_ratio, dynamic.latency_ratio))
    worse = all(s is not None and d is not None and s > d for s, d in pairs)
    return frozenset({"int8-static"}) if worse else frozenset()


def nearest(
    frontier: Frontier, *, among: Container[Precision] = QUANTIZED, count: int = 3
) -> tuple[FrontierPoint, ...]:
    """The points of some precisions that come nearest to the budget, the most accurate first."""
    known = [p for p in frontier.points if p.precision in among and p.loss is not None]
    return tuple(sorted(known, key=lambda point: point.loss or 0.0)[:count])


def _metric_name(variants: Sequence[VariantReport]) -> Metric | None:
    found = (v.validation.metric for v in variants if v.validation and v.validation.metric)
    first = next(found, None)
    return first.name if first else None


def _points(
    variant: VariantReport, ratio: float | None, metric: Metric | None
) -> Iterator[FrontierPoint]:
    judged = variant.validation
    kept = judged is not None and judged.parity is not None
    # The last attempt is the variant itself, where one was kept.
    attempts = variant.conversion.attempts
    for attempt in attempts[:-1] if kept else attempts:
        yield _attempted(variant.precision, attempt, metric)
    if judged is None or judged.parity is None:
        return
    label = attempts[-1].label if attempts else variant.precision
    model = variant.conversion.model
    yield FrontierPoint(
        label=label,
        precision=variant.precision,
        metric=judged.metric.value if judged.metric else None,
        loss=_loss(variant.precision, judged.metric.drop if judged.metric else None, judged.parity)
        if metric is None or judged.metric
        else None,
        size_bytes=model.size_bytes if model else None,
        latency_ratio=ratio,
        within_budget=variant.status == "passed",
        efficient=False,
        reason=variant.reason,
    )


def _attempted(precision: Precision, attempt: Attempt, metric: Metric | None) -> FrontierPoint:
    return FrontierPoint(
        label=attempt.label,
        precision=precision,
        metric=attempt.metric,
        loss=attempt.drop if metric else attempt.relative_l2,
        size_bytes=attempt.size_bytes,
        within_budget=attempt.passed,
        efficient=False,
        reason=attempt.reason,
    )


def _loss(precision: Precision, drop: float | None, parity: ParityReport) -> float | None:
    if drop is not None:
        return drop
    errors = [o.relative_l2 for o in parity.outputs if o.relative_l2 is not None]
    # fp32 is the source's own precision; what its error is of is the exporter's rounding.
    return max(errors, default=0.0 if precision == "fp32" else None)


def _with_efficiency(points: Sequence[FrontierPoint]) -> Iterator[FrontierPoint]:
    measured = any(point.latency_ratio is not None for point in points)
    costs = [_Cost(p.loss, p.latency_ratio, p.size_bytes) for p in points]
    for point, cost in zip(points, costs, strict=True):
        known = cost.loss is not None and (cost.latency is not None or not measured)
        beaten = any(_dominates(other, cost) for other in costs if other is not cost)
        yield point.model_copy(update={"efficient": known and not beaten})


def _dominates(one: _Cost, other: _Cost) -> bool:
    pairs = [
        (_at(a), _at(b))
        for a, b in ((one.loss, other.loss), (one.latency, other.latency), (one.size, other.size))
    ]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _at(value: float | None) -> float:
    return math.inf if value is None else float(value)
