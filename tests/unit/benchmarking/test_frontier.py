"""The frontier: where every variant stands, which nothing beats, and what is never chosen."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.artifacts import ArtifactRef
from slipway.benchmarking.frontier import beaten_statics, build_frontier, nearest
from slipway.reports import (
    Attempt,
    BenchmarkReport,
    CheckReport,
    ConversionReport,
    Estimate,
    FrontierPoint,
    MetricReport,
    OutputParity,
    ParityReport,
    ValidationReport,
    VariantReport,
)
from slipway.specs import Precision, Tolerance

EMPTY = Estimate(value_ms=1.0, low_ms=None, high_ms=None)


def variant(
    precision: Precision,
    *,
    error: float = 0.0,
    drop: float | None = None,
    size: int = 100,
    passed: bool = True,
    attempts: Sequence[Attempt] = (),
) -> VariantReport:
    ref = ArtifactRef(uri=precision, digest="sha256:" + "0" * 64, size_bytes=size)
    output = OutputParity(
        output="y", passed=True, max_abs_error=0.0, max_rel_error=0.0, relative_l2=error
    )
    metric = None
    if drop is not None:
        metric = MetricReport(
            passed=passed, name="accuracy", value=0.9 - drop, baseline=0.9, drop=drop, budget=0.01,
            samples=10,
        )  # fmt: skip
    return VariantReport(
        precision=precision,
        status="passed" if passed else "failed",
        required=False,
        reason=None if passed else "too far off",
        model=ref if passed else None,
        conversion=ConversionReport(
            precision=precision, status="passed", model=ref, attempts=tuple(attempts)
        ),
        validation=ValidationReport(
            precision=precision,
            passed=passed,
            check=CheckReport(passed=True),
            parity=ParityReport(
                passed=True, tolerance=Tolerance(), outputs=(output,), cases=1, samples=1
            ),
            metric=metric,
        ),
    )


def row(precision: Precision, ratio: float | None, batch_size: int = 1) -> BenchmarkReport:
    return BenchmarkReport(
        precision=precision, provider="cpu", batch_size=batch_size, queries=10, p50=EMPTY,
        p95=EMPTY, p99=EMPTY, throughput=1.0, ratio=ratio,
        verdict="baseline" if ratio is None else "faster",
    )  # fmt: skip


def test_what_loses_nothing_in_all_three_is_beaten_by_none() -> None:
    variants = [
        variant("fp32", size=100),
        variant("fp16", error=1e-3, size=50),
        variant("int8-dynamic", error=1e-2, size=30),
        variant("int8-static", error=2e-2, size=31),
    ]
    rows = [row("fp32", None), row("fp16", 1.1), row("int8-dynamic", 0.6), row("int8-static", 0.7)]
    frontier = build_frontier(variants, rows, provider="cpu")
    assert frontier.measure == "relative_l2"
    assert {p.label: p.efficient for p in frontier.points} == {
        "fp32": True,
        "fp16": True,
        "int8-dynamic": True,
        "int8-static": False,
    }
    assert [p.latency_ratio for p in frontier.points] == [1.0, 1.1, 0.6, 0.7]


def test_a_static_int8_that_dynamic_beats_in_accuracy_and_speed_is_never_chosen() -> None:
    variants = [variant("fp32"), variant("int8-dynamic", error=0.01)]
    rows = [row("fp32", None), row("int8-dynamic", 0.6), row("int8-static", 0.7)]
    worse = build_frontier([*variants, variant("int8-static", error=0.02)], rows, provider="cpu")
    assert beaten_statics(worse) == {"int8-static"}
    right = build_frontier([*variants, variant("int8-static", error=0.005)], rows, provider="cpu")
    assert beaten_statics(right) == frozenset()


def test_a_dynamic_int8_that_failed_beats_nothing() -> None:
    variants = [
        variant("int8-dynamic", error=0.01, passed=False),
        variant("int8-static", error=0.02),
    ]
    rows = [row("int8-dynamic", 0.6), row("int8-static", 0.7)]
    assert not beaten_statics(build_frontier(variants, rows, provider="cpu"))


def test_the_metrics_drop_is_what_is_lost_where_there_is_one() -> None:
    variants = [variant("fp32", drop=0.0), variant("int8-static", error=0.3, drop=0.005)]
    frontier = build_frontier(variants, (), provider=None)
    assert frontier.measure == "accuracy"
    assert [p.loss for p in frontier.points] == [0.0, 0.005]


def test_what_was_tried_on_the_way_is_shown_without_a_latency() -> None:
    tried = Attempt(label="int8-static", passed=False, relative_l2=0.4, size_bytes=25)
    kept = Attempt(label="int8-mixed", passed=True, relative_l2=0.02, float_nodes=("a",))
    mixed = variant("int8-static", error=0.02, size=40, attempts=[tried, kept])
    rows = [row("fp32", None), row("int8-static", 0.8), row("int8-static", 0.5, batch_size=8)]
    frontier = build_frontier([variant("fp32"), mixed], rows, provider="cpu")
    points = {p.label: p for p in frontier.points}
    assert list(points) == ["fp32", "int8-static", "int8-mixed"]
    assert points["int8-static"].latency_ratio is None
    assert not points["int8-static"].efficient
    assert points["int8-mixed"].latency_ratio == 0.8
    assert points["int8-mixed"].within_budget


def test_the_nearest_to_a_missed_budget_are_the_most_accurate_quantized_ones() -> None:
    failed = Attempt(label="int8-static", passed=False, relative_l2=0.4)
    gone = variant("int8-static").model_copy(
        update={
            "validation": None,
            "model": None,
            "status": "failed",
            "conversion": ConversionReport(
                precision="int8-static", status="failed", attempts=(failed,)
            ),
        }
    )
    dynamic = variant("int8-dynamic", error=0.2, passed=False)
    frontier = build_frontier([variant("fp32"), gone, dynamic], (), provider=None)
    assert [p.label for p in nearest(frontier)] == ["int8-dynamic", "int8-static"]


costs = st.tuples(st.integers(0, 3).map(float), st.integers(1, 4).map(float), st.integers(1, 4))
NAMES: tuple[Precision, ...] = ("fp32", "fp16", "int8-dynamic", "int8-static")


@given(st.lists(costs, min_size=4, max_size=4))
def test_a_point_is_efficient_exactly_where_no_other_dominates_it(
    given_costs: list[tuple[float, float, int]],
) -> None:
    named = list(zip(NAMES, given_costs, strict=True))
    variants = [variant(name, error=loss, size=size) for name, (loss, _, size) in named]
    rows = [row(name, ratio) for name, (_, ratio, _) in named]
    found = build_frontier(variants, rows, provider="cpu").points

    def at(point: FrontierPoint) -> tuple[float, ...]:
        assert point.loss is not None
        assert point.latency_ratio is not None
        assert point.size_bytes is not None
        return (point.loss, point.latency_ratio, float(point.size_bytes))

    for point in found:
        beaten = any(
            all(a <= b for a, b in zip(at(other), at(point), strict=True))
            and at(other) != at(point)
            for other in found
        )
        assert point.efficient is not beaten
    for one, other in itertools.combinations([p for p in found if p.efficient], 2):
        assert at(one) == at(other) or any(a < b for a, b in zip(at(one), at(other), strict=True))


@pytest.mark.parametrize("missing", ["parity", "validation"])
def test_a_variant_that_was_never_compared_is_no_point(missing: str) -> None:
    broken = variant("fp16", passed=False)
    assert broken.validation is not None
    if missing == "parity":
        unjudged = broken.validation.model_copy(update={"parity": None})
        broken = broken.model_copy(update={"validation": unjudged})
    else:
        broken = broken.model_copy(update={"validation": None})
    frontier = build_frontier([variant("fp32"), broken], (), provider=None)
    assert [p.label for p in frontier.points] == ["fp32"]
