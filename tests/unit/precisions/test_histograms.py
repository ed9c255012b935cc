"""Ranges from distributions: what is kept, whatever the order or the batching."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from slipway.precisions.histograms import (
    BINS,
    Histogram,
    entropy_ranges,
    entropy_threshold,
    percentile_ranges,
)
from slipway.samples.arrays import Array

FLOATS = npst.arrays(
    np.float32,
    st.integers(2, 200),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)


def passes(*batches: Array) -> Callable[[], Iterator[Mapping[str, Array]]]:
    return lambda: iter([{"t": batch} for batch in batches])


def percentile_of(percentile: float, *batches: Array) -> tuple[float, float]:
    low = min(float(b.min()) for b in batches)
    high = max(float(b.max()) for b in batches)
    return percentile_ranges(passes(*batches), {"t": (low, high)}, percentile=percentile)["t"]


@given(FLOATS, st.floats(51, 100))
def test_no_more_is_cut_than_asked_for(values: Array, percentile: float) -> None:
    low, high = percentile_of(percentile, values)
    slack = 1e-6 * max(abs(low), abs(high))
    cut = len(values) * (100 - percentile) / 200
    assert (values < low - slack).sum() <= cut
    assert (values > high + slack).sum() <= cut


@given(FLOATS)
def test_all_is_kept_at_a_hundred_percent(values: Array) -> None:
    low, high = percentile_of(100, values)
    assert (low, high) == pytest.approx((values.min(), values.max()), rel=1e-6, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(FLOATS, st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_order_and_batching_do_not_matter(values: Array, seed: int, size: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values)
    batches = [shuffled[i : i + size] for i in range(0, len(shuffled), size)]
    assert percentile_of(90, *batches) == percentile_of(90, values)
    extremes = {"t": (float(values.min()), float(values.max()))}
    assert entropy_ranges(passes(*batches), extremes) == entropy_ranges(passes(values), extremes)


def test_one_wild_value_does_not_take_the_resolution_of_all_others() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    wild = np.append(values, np.float32(1e6))
    low, high = percentile_of(99.9, wild)
    exact = np.quantile(wild, [0.0005, 0.9995])
    assert (low, high) == pytest.approx(exact, rel=0.02)


def test_every_value_is_counted_once() -> None:
    histogram = Histogram(-1.0, 1.0)
    histogram.add(np.linspace(-2, 2, 1001, dtype=np.float32))
    assert histogram.below + histogram.above + histogram.counts.sum() == 1001
    assert histogram.below == histogram.above == 250


def test_a_constant_tensor_keeps_its_value() -> None:
    assert percentile_of(99, np.full(10, 3.0, np.float32)) == (3.0, 3.0)


def test_entropy_cuts_a_long_tail_that_minmax_keeps() -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal(100_000).astype(np.float32)
    values[:3] = 60.0
    low, high = entropy_ranges(passes(values), {"t": (float(values.min()), 60.0)})["t"]
    assert 3.0 < high < 30.0
    assert low == -high


def test_entropy_keeps_a_uniform_distribution_whole() -> None:
    assert entropy_threshold(np.full(BINS, 100), levels=128) == BINS


def test_zeros_of_a_relu_do_not_decide_its_range() -> None:
    random = np.random.default_rng(0)
    counts = np.bincount(random.integers(0, BINS, 200_000), minlength=BINS)
    with_zeros = counts.copy()
    with_zeros[0] += 10_000_000
    assert entropy_threshold(with_zeros, levels=256) == entropy_threshold(counts, levels=256)
