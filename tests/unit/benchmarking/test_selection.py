"""The variant to serve: fastest for sure, within the objective, and of the highest precision."""

import pytest

from slipway.benchmarking.selection import select_variant
from slipway.errors import ModelError
from slipway.reports import BenchmarkReport, Estimate, Verdict
from slipway.specs import PRECISIONS, Precision

UNKNOWN = Estimate(value_ms=None, low_ms=None, high_ms=None)
ALL = frozenset(PRECISIONS)


def row(
    precision: Precision,
    verdict: Verdict = "baseline",
    ratio: float | None = None,
    *,
    p99: float | None = None,
    batch: int = 1,
) -> BenchmarkReport:
    exact = Estimate(value_ms=p99, low_ms=p99, high_ms=p99) if p99 else UNKNOWN
    return BenchmarkReport(
        precision=precision,
        provider="cpu",
        batch_size=batch,
        queries=700,
        p50=UNKNOWN,
        p95=UNKNOWN,
        p99=exact,
        throughput=100.0,
        ratio=ratio,
        ratio_interval=(ratio * 0.98, ratio * 1.02) if ratio else None,
        verdict=verdict,
    )


def test_the_fastest_that_passed_is_selected() -> None:
    rows = [
        row("fp32"),
        row("fp16", "slower", 1.2),
        row("int8-dynamic", "faster", 0.7),
        row("int8-static", "faster", 0.4),
    ]
    assert select_variant(rows, passed=ALL) == "int8-static"
    assert select_variant(rows, passed={"fp32", "fp16", "int8-dynamic"}) == "int8-dynamic"
    assert select_variant(rows, passed={"fp32", "fp16"}) == "fp32"


def test_a_smaller_ratio_without_a_verdict_does_not_count() -> None:
    rows = [row("fp32"), row("int8-static", "no difference", 0.97)]
    assert select_variant(rows, passed=ALL) == "fp32"


def test_of_variants_that_cannot_be_told_apart_the_higher_precision_wins() -> None:
    rows = [row("fp32"), row("fp16", "faster", 0.51), row("int8-static", "faster", 0.5)]
    assert select_variant(rows, passed=ALL) == "fp16"


def test_a_variant_that_misses_the_objective_gives_way_to_a_slower_median() -> None:
    rows = [row("fp32", p99=9.0), row("int8-static", "faster", 0.5, p99=12.0)]
    assert select_variant(rows, passed=ALL, slo_p99_ms=10.0) == "fp32"
    assert select_variant(rows, passed=ALL) == "int8-static"


def test_an_undecided_objective_is_better_than_a_missed_one() -> None:
    rows = [row("fp32", p99=20.0), row("int8-static", "slower", 1.5)]
    assert select_variant(rows, passed=ALL, slo_p99_ms=10.0) == "int8-static"


def test_where_all_miss_the_objective_the_fastest_is_served_none_the_less() -> None:
    rows = [row("fp32", p99=20.0), row("int8-static", "faster", 0.5, p99=15.0)]
    assert select_variant(rows, passed=ALL, slo_p99_ms=10.0) == "int8-static"


def test_the_smallest_batch_size_decides() -> None:
    rows = [
        row("fp32", batch=8),
        row("int8-static", "faster", 0.3, batch=8),
        row("fp32"),
        row("int8-static", "slower", 1.3),
    ]
    assert select_variant(rows, passed=ALL) == "fp32"
    assert select_variant(rows[:2], passed=ALL) == "int8-static"


def test_nothing_that_passed_is_an_error() -> None:
    with pytest.raises(ModelError, match="none to select"):
        select_variant([row("fp32")], passed=set())
