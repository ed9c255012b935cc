"""Statistics and thresholds: the same for any order, batching and sharing of the values."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from slipway.precisions.histograms import Bits, Exact, Linear
from slipway.precisions.statistics import Extremes
from slipway.precisions.tails import Tails
from slipway.precisions.thresholds import (
    LEVELS,
    entropy_range,
    mse_range,
    percentile_of_counts,
    percentile_of_tails,
)
from slipway.samples.arrays import Array

FLOATS = npst.arrays(
    np.float32,
    st.integers(2, 200),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)
KINDS: dict[str, Callable[[], Extremes]] = {
    "extremes": Extremes,
    "tails": lambda: Tails(7),
    "tails, roughly": lambda: Tails(7, exactly=False),
    "bits": lambda: Bits(7),
    "linear": Linear,
    "exact": lambda: Exact(-1000.0, 1000.0, magnitudes=False),
}


def counted(kind: str, *batches: Array) -> Extremes:
    statistic = KINDS[kind]()
    for batch in batches:
        statistic.add(batch, len(batch))
    return statistic


def same(a: Extremes, b: Extremes) -> bool:
    ours, theirs = a.pack(), b.pack()
    return ours.keys() == theirs.keys() and all(
        np.array_equal(array, theirs[part], equal_nan=True) for part, array in ours.items()
    )


def squared_error(values: Array, low: float, high: float) -> float:
    """Of values in eight bits, rounded and clipped one by one."""
    step = (high - low) / LEVELS
    zero = round(-low / step)
    told = np.clip(np.rint(values.astype(np.float64) / step) + zero, 0, LEVELS)
    return float(np.square((told - zero) * step - values).sum())


@settings(max_examples=60, deadline=None)
@given(FLOATS, st.integers(0, 2**32 - 1), st.integers(1, 50), st.sampled_from(sorted(KINDS)))
def test_order_batching_and_sharing_do_not_matter(
    values: Array, seed: int, size: int, kind: str
) -> None:
    whole = counted(kind, values)
    shuffled = np.random.default_rng(seed).permutation(values)
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    assert same(counted(kind, *batches), whole)
    merged = counted(kind, *batches[1::2])
    merged.merge(counted(kind, *batches[0::2]))
    assert same(merged, whole)
    copy = KINDS[kind]()
    copy.unpack(whole.pack())
    copy.merge(counted(kind, values))
    assert same(copy, counted(kind, values, values))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_many_values_are_counted_as_a_few_are(kind: str) -> None:
    random = np.random.default_rng(0)
    values = random.standard_t(2, (9, 20_011)).astype(np.float32)
    values[:, ::5] = np.maximum(values[:, ::5], 0)
    whole = counted(kind, values)
    apart = counted(kind, *(values[row : row + 1] for row in random.permutation(9)))
    merged = counted(kind, values[5:])
    merged.merge(counted(kind, values[:5]))
    assert same(apart, whole)
    assert same(merged, whole)


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["extremes", "tails", "bits", "linear"])
def test_what_is_not_finite_shows_in_the_extremes(kind: str, wild: float) -> None:
    values = np.array([1.0, wild, 2.0], np.float32)
    for batches in ([values], [values[:2], values[2:]], [values[::-1]]):
        statistic = counted(kind, *batches)
        assert not np.isfinite([statistic.low, statistic.high]).all()


def test_every_channel_of_a_large_tensor_is_sampled() -> None:
    values = np.zeros((4, 128, 384), np.float32)
    values[..., 200] = 1.0
    bits = Bits(7)
    bits.add(values, 4)
    cells = {int(cell): int(bits.counts[cell]) for cell in np.flatnonzero(bits.counts)}
    ones = int(np.ones(1, np.float32).view(np.uint16)[1])
    assert sum(cells.values()) == pytest.approx(values.size / 5, rel=0.01)
    assert cells[ones] / sum(cells.values()) == pytest.approx(1 / 384, rel=0.05)


@given(FLOATS, st.floats(51, 99.9))
@settings(max_examples=60, deadline=None)
def test_a_percentile_from_the_outermost_values_is_that_of_all_of_them(
    values: Array, percentile: float
) -> None:
    tails = Tails(150)
    tails.add(values, len(values))
    found = percentile_of_tails(tails, percentile)
    limits = (tails.nearest, max(abs(tails.low), abs(tails.high)))
    histogram = Exact(*limits, magnitudes=True)
    histogram.add(values, len(values))
    expected = percentile_of_counts(histogram, percentile)
    width = (limits[1] - limits[0]) / 2048
    if found is not None:
        assert found == expected or max(map(abs, expected)) <= limits[0] + 129 * width


def test_one_wild_value_does_not_take_the_resolution_of_all_others() -> None:
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    wild = np.append(values, np.float32(1e6))
    tails = Tails(4096)
    tails.add(wild, 1)
    assert percentile_of_tails(tails, 99.9) == pytest.approx(
        (-np.quantile(np.abs(wild), 0.999), np.quantile(np.abs(wild), 0.999)), rel=0.01
    )
    bits = Bits(4096)
    bits.add(wild, 1)
    low, high = mse_range(bits)
    assert squared_error(wild, low, high) <= 1.01 * squared_error(wild, values.min(), 1e6)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "normal": lambda random, count: random.standard_normal(count),
    "relu": lambda random, count: np.maximum(random.standard_normal(count), 0),
    "heavy-tailed": lambda random, count: random.standard_t(3, count),
    "one-sided-outlier": lambda random, count: np.append(random.random(count - 1), 40.0),
    "uniform": lambda random, count: random.uniform(-1, 1, count),
    "negative": lambda random, count: -random.gamma(2.0, 1.0, count),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("shape", [(1, 60_000), (20, 3_000)])
def test_the_mse_range_is_the_best_of_many(name: str, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    values = DISTRIBUTIONS[name](random, shape[0] * shape[1]).astype(np.float32)
    bits = Bits(4096)
    bits.add(values.reshape(shape), shape[0])
    low, high = mse_range(bits)
    least = min(
        squared_error(
            values, min(0, float(values.min())) * left, max(0, float(values.max())) * right
        )
        for left in np.linspace(0.05, 1, 8)
        for right in np.linspace(0.05, 1, 8)
    )
    assert squared_error(values, low, high) <= 1.05 * least


def test_a_tensor_that_is_always_zero_has_no_range() -> None:
    zeros = np.zeros(10, np.float32)
    for kind in KINDS:
        statistic = counted(kind, zeros)
        assert (statistic.low, statistic.high) == (0, 0)
    bits = counted("bits", zeros)
    assert isinstance(bits, Bits)
    assert mse_range(bits) == (0, 0)


def test_entropy_keeps_a_uniform_distribution_whole() -> None:
    values = np.random.default_rng(0).uniform(-0.99, 0.99, 1_000_000).astype(np.float32)
    histogram = Exact(-1.0, 1.0, magnitudes=False)
    histogram.add(values, 1)
    assert entropy_range(histogram) == pytest.approx((-0.99, 0.99), abs=1e-3)


def test_entropy_cuts_a_long_tail_that_minmax_keeps() -> None:
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    values[:3] = 60.0
    linear = Linear()
    linear.add(values, 1)
    low, high = entropy_range(linear)
    assert -5.0 < low < -3.0
    assert 3.0 < high < 30.0
