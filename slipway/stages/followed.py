"""What came of making a promoted model today, and the figures of it that are followed over time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from slipway.reports import (
    BenchmarkReport,
    BenchmarkSuite,
    Drift,
    Evidence,
    ValidationReport,
    VariantReport,
)
from slipway.specs import Precision, ReleaseSpec
from slipway.stages.champions import Champion

PROMOTED: Final = "promoted"
FRESH: Final = "fresh"
"""The labels of the two in a measurement side by side; the first is the baseline."""


@dataclass(frozen=True)
class Today:
    """What came of making a model today.

    `replayed` are the promoted bytes and `repeated` the fresh ones, both on the golden set and the
    evaluation data of the promoted version; `paired` is latency, fresh against promoted.
    """

    spec: ReleaseSpec
    evidence: Evidence
    tools: Mapping[str, str]
    replayed: Mapping[Precision, ValidationReport] = field(default_factory=dict)
    repeated: Mapping[Precision, ValidationReport] = field(default_factory=dict)
    paired: Mapping[Precision, Sequence[BenchmarkSuite]] = field(default_factory=dict)


def fresh_rows(suite: BenchmarkSuite) -> Iterator[BenchmarkReport]:
    """The fresh variant's rows of a measurement side by side."""
    return (row for row in suite.rows if row.precision == FRESH)


def measures(champion: Champion | None, today: Today, drifts: Sequence[Drift]) -> dict[str, float]:
    """The figures by name: sizes, metrics, errors, latencies and how many regressions.

    Variants whose bytes are the promoted ones have a latency ratio of 1 without measuring.
    """
    found = {"regressions": float(sum(drift.regressed for drift in drifts))}
    for variant in today.evidence.variants:
        found |= _figures(variant, today)
    for place, suites in today.paired.items():
        found |= _latencies(place, suites)
    if champion is not None:
        found |= {f"{place}/latency_ratio": 1.0 for place in _same_bytes(champion, today)}
    return found


def _figures(variant: VariantReport, today: Today) -> dict[str, float]:
    place = variant.precision
    found = {}
    if variant.model is not None:
        found[f"{place}/size_bytes"] = float(variant.model.size_bytes)
    judged = today.repeated.get(place) or variant.validation
    if judged is None:
        return found
    if judged.metric is not None and judged.metric.value is not None:
        found[f"{place}/{judged.metric.name}"] = judged.metric.value
    if judged.parity is not None and judged.parity.worst.max_abs_error is not None:
        found[f"{place}/max_abs_error"] = judged.parity.worst.max_abs_error
    return found


def _latencies(place: Precision, suites: Sequence[BenchmarkSuite]) -> dict[str, float]:
    found = {}
    for row in (row for suite in suites for row in fresh_rows(suite)):
        if row.ratio is not None:
            found[f"{place}/{row.provider}/batch_{row.batch_size}/latency_ratio"] = row.ratio
        if row.p50.value_ms is not None:
            found[f"{place}/{row.provider}/batch_{row.batch_size}/p50_ms"] = row.p50.value_ms
    return found


def _same_bytes(champion: Champion, today: Today) -> Iterator[Precision]:
    digests = {v.precision: v.model.digest for v in champion.evidence.variants if v.model}
    for variant in today.evidence.variants:
        if variant.model is not None and digests.get(variant.precision) == variant.model.digest:
            yield variant.precision
