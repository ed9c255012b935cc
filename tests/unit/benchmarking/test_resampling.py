"""Intervals over processes cover what they claim to, on noise of which the truth is known."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.benchmarking.resampling import pooled, ratio_of, student_t
from slipway.benchmarking.statistics import estimate, verdict
from slipway.samples.arrays import Array

PROCESSES = 7
RUNS = 95


def simulated(
    random: np.random.Generator,
    *,
    ratio: float = 1.0,
    layout: float = 0.01,
    noise: float = 0.1,
    processes: int = PROCESSES,
    runs: int = RUNS,
) -> list[Array]:
    """Paired ratios: each process is off by its layout, and each run by noise with heavy tails."""
    return [
        ratio * np.exp(random.normal(0, layout) + noise * random.standard_t(3, runs))
        for _ in range(processes)
    ]


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (6, 2.447), (30, 2.042)]
)
def test_student_s_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_t(0.975, freedom) == pytest.approx(quantile, abs=1e-3)


def test_student_s_distribution_becomes_the_normal_one() -> None:
    assert student_t(0.975, 2000) == pytest.approx(NormalDist().inv_cdf(0.975), rel=1e-3)


@pytest.mark.parametrize(("layout", "noise"), [(0.0, 0.1), (0.01, 0.05), (0.03, 0.05), (0.02, 0.3)])
def test_equal_models_are_called_different_in_one_of_twenty_tries_at_most(
    layout: float, noise: float
) -> None:
    random = np.random.default_rng(0)
    tries = 400
    called = sum(
        verdict(ratio_of(simulated(random, layout=layout, noise=noise))[1]) != "no difference"
        for _ in range(tries)
    )
    # 95 % confidence; what 400 tries can tell of it is within 1.1 points.
    assert called <= tries * (0.05 + 2 * math.sqrt(0.05 * 0.95 / tries))


@pytest.mark.parametrize(("layout", "noise"), [(0.01, 0.1), (0.015, 0.05)])
def test_a_slowdown_of_five_percent_is_found_in_nine_of_ten_tries(
    layout: float, noise: float
) -> None:
    random = np.random.default_rng(1)
    found = [
        verdict(ratio_of(simulated(random, ratio=1.05, layout=layout, noise=noise))[1])
        for _ in range(200)
    ]
    assert found.count("slower") >= 180
    assert "faster" not in found


def test_pooling_all_runs_as_if_they_were_one_process_s_would_cry_wolf() -> None:
    """Why there are two levels: layout is the same for all runs of a process."""
    random = np.random.default_rng(0)
    wolf = 0
    for _ in range(200):
        runs = np.log(np.concatenate(simulated(random, layout=0.03, noise=0.02)))
        half = 1.96 * 1.2533 * runs.std() / math.sqrt(len(runs))
        wolf += abs(np.median(runs)) > half
    assert wolf > 60


def test_one_process_has_a_ratio_and_no_interval() -> None:
    ratio, interval = ratio_of([np.array([1.0, 2.0, 4.0])])
    assert ratio == pytest.approx(2)
    assert interval is None


@given(st.integers(0, 10_000), st.floats(0.1, 10.0))
@settings(max_examples=25, deadline=None)
def test_a_ratio_scales_and_its_interval_with_it(seed: int, factor: float) -> None:
    processes = simulated(np.random.default_rng(seed), runs=21)
    ratio, interval = ratio_of(processes)
    scaled, wider = ratio_of([factor * p for p in processes])
    assert interval is not None
    assert wider is not None
    assert scaled == pytest.approx(factor * ratio)
    assert wider == pytest.approx([factor * end for end in interval])
    assert interval[0] <= ratio <= interval[1]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_percentiles_lie_in_their_intervals_and_those_hold_the_order_statistics(seed: int) -> None:
    random = np.random.default_rng(seed)
    processes = simulated(random)
    runs = np.concatenate(processes)
    for percentile, found in zip((50, 95, 99), pooled(processes, (50, 95, 99)), strict=True):
        alone = estimate(runs, percentile)
        assert found.value_ms == alone.value_ms
        assert found.low_ms is not None
        assert found.high_ms is not None
        assert alone.low_ms is not None
        assert alone.high_ms is not None
        assert found.low_ms <= alone.low_ms <= alone.high_ms <= found.high_ms


def test_a_percentile_s_interval_covers_the_long_run_s_value_over_processes() -> None:
    random = np.random.default_rng(2)
    long_run = float(np.median(np.concatenate(simulated(random, processes=4000, layout=0.03))))
    tries, covered = 300, 0
    for _ in range(tries):
        (found,) = pooled(simulated(random, layout=0.03), (50,))
        assert found.low_ms is not None
        assert found.high_ms is not None
        covered += found.low_ms <= long_run <= found.high_ms
    assert covered >= 0.93 * tries


def test_a_percentile_that_needs_more_queries_is_refused_however_many_processes() -> None:
    p50, p99 = pooled(simulated(np.random.default_rng(0), runs=90), (50, 99))
    assert p50.value_ms is not None
    assert (p99.value_ms, p99.low_ms, p99.high_ms) == (None, None, None)
