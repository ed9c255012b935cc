"""Intervals hold what they promise; percentiles that cannot be known are refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.benchmarking.objective import meets_slo
from slipway.benchmarking.statistics import (
    estimate,
    order_interval,
    paired_ratio,
    queries_needed,
    verdict,
)
from slipway.reports import Estimate


@pytest.mark.parametrize(
    ("percentile", "published"), [(50, 11), (90, 64), (95, 130), (99, 662), (99.9, 6636)]
)
def test_queries_needed_are_loadgens_published_numbers(percentile: float, published: int) -> None:
    assert queries_needed(percentile) == published


def test_being_honest_to_the_percentile_needs_more_queries() -> None:
    published = [59, 325, 656, 3304]
    assert [queries_needed(p, discarded=20) for p in (50, 90, 95, 99)] == published


@given(st.floats(50, 99), st.floats(0.05, 0.9))
def test_a_higher_percentile_never_needs_fewer_queries(percentile: float, more: float) -> None:
    assert queries_needed(percentile + more) >= queries_needed(percentile)


@pytest.mark.parametrize(("percentile", "n"), [(50, 10), (95, 129), (99, 661)])
def test_a_percentile_of_too_few_queries_is_refused(percentile: float, n: int) -> None:
    refused = estimate(np.arange(1.0, n + 1), percentile)
    assert refused == Estimate(value_ms=None, low_ms=None, high_ms=None)
    assert estimate(np.arange(1.0, n + 2), percentile).value_ms is not None


@settings(max_examples=50)
@given(st.integers(11, 3000), st.sampled_from([50.0, 90.0, 95.0, 99.0]))
def test_the_interval_holds_its_percentile_with_the_probability_asked_for(
    n: int, percentile: float
) -> None:
    interval = order_interval(n, percentile)
    if interval is None:
        return
    low, high = interval
    p = percentile / 100
    held = math.fsum(
        math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(p) + (n - k) * math.log(1 - p)
        )
        for k in range(low + 1, high + 1)
    )  # fmt: skip
    assert held >= 0.95 - 1e-9


@pytest.mark.parametrize("percentile", [50.0, 95.0])
def test_the_interval_covers_the_true_percentile_of_a_skewed_distribution(
    percentile: float,
) -> None:
    random = np.random.default_rng(0)
    truth = float(-np.log1p(-percentile / 100))
    trials = 1500
    covered = 0
    for _ in range(trials):
        known = estimate(random.exponential(size=200), percentile)
        assert known.low_ms is not None
        assert known.high_ms is not None
        covered += known.low_ms <= truth <= known.high_ms
    assert 0.94 < covered / trials < 0.985


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=20), st.integers(662, 800))
@settings(max_examples=20)
def test_percentiles_and_their_intervals_are_in_order(values: list[float], n: int) -> None:
    latencies = np.random.default_rng(n).choice(values, n)
    p50, p95, p99 = (estimate(latencies, p) for p in (50, 95, 99))
    for known in (p50, p95, p99):
        assert known.low_ms is not None
        assert known.value_ms is not None
        assert known.high_ms is not None
        assert known.low_ms <= known.value_ms <= known.high_ms
    assert p50.value_ms is not None
    assert p95.value_ms is not None
    assert p99.value_ms is not None
    assert p50.value_ms <= p95.value_ms <= p99.value_ms


def test_more_queries_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    widths = []
    for n in (100, 1000, 10000):
        known = estimate(random.exponential(size=n), 50)
        assert known.high_ms is not None
        assert known.low_ms is not None
        widths.append(known.high_ms - known.low_ms)
    assert widths == sorted(widths, reverse=True)


def test_pairing_takes_out_what_disturbs_both() -> None:
    random = np.random.default_rng(0)
    weather = np.exp(random.normal(0, 1, 300))
    baseline = weather * random.normal(1, 0.02, 300)
    candidate = 0.8 * weather * random.normal(1, 0.02, 300)
    ratio, interval = paired_ratio(candidate, baseline)
    assert interval is not None
    assert interval[0] <= ratio <= interval[1]
    assert 0.79 < interval[0] < 0.8 < interval[1] < 0.81


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_swapping_the_arms_inverts_the_ratio(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.uniform(1, 2, 101), random.uniform(1, 2, 101)
    forth, back = paired_ratio(a, b), paired_ratio(b, a)
    assert forth[0] * back[0] == pytest.approx(1)


def test_equal_models_are_called_different_in_one_of_twenty_tries_at_most() -> None:
    random = np.random.default_rng(0)
    called = 0
    for _ in range(1000):
        a, b = random.exponential(size=(2, 100)) + 1
        called += verdict(paired_ratio(a, b)[1]) != "no difference"
    assert called <= 60


def test_a_ratio_of_too_few_rounds_has_no_interval() -> None:
    ratio, interval = paired_ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert ratio == 0.5
    assert interval is None
    assert verdict(interval) == "no difference"


def test_a_verdict_needs_the_whole_interval_beyond_the_resolution() -> None:
    assert verdict((0.7, 0.9)) == "faster"
    assert verdict((1.1, 1.2)) == "slower"
    assert verdict((0.9, 1.1)) == "no difference"
    assert verdict((0.95, 0.97)) == "faster"
    assert verdict((0.95, 0.97), resolution=0.04) == "no difference"
    assert verdict((0.9, 0.95), resolution=0.04) == "faster"


def known(low: float, value: float, high: float) -> Estimate:
    return Estimate(value_ms=value, low_ms=low, high_ms=high)


UNKNOWN = Estimate(value_ms=None, low_ms=None, high_ms=None)


def test_the_objective_is_met_when_the_whole_interval_is_within_it() -> None:
    p99 = known(8, 9, 11)
    assert meets_slo(p99=p99, slo_p99_ms=12) is True
    assert meets_slo(p99=p99, slo_p99_ms=10) is None
    assert meets_slo(p99=p99, slo_p99_ms=7) is False
    assert meets_slo(p99=p99, slo_p99_ms=None) is None


def test_a_p50_beyond_the_objective_refutes_it_without_a_p99() -> None:
    assert meets_slo(p99=UNKNOWN, others=[known(8, 9, 10)], slo_p99_ms=7) is False
    assert meets_slo(p99=UNKNOWN, others=[known(8, 9, 10)], slo_p99_ms=20) is None
