"""Percentiles, intervals and verdicts from latencies; nothing is assumed of their distribution."""

import math
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.reports import Estimate, Verdict
from slipway.samples.arrays import Array

Floats = npt.NDArray[np.float64]

CONFIDENCE: Final = 0.95
EARLY_STOPPING_CONFIDENCE: Final = 0.99


@cache
def queries_needed(percentile: float, *, discarded: int = 1) -> int:
    """The fewest queries from which a percentile may be stated.

    The smallest n with P(Bin(n, 1 - p) <= t) <= 0.01, where t runs are discarded from the top:
    11, 64, 130 and 662 queries for p50, p90, p95 and p99 at t = 1.

    Source: MLPerf LoadGen, early stopping.
    """
    risk = 1.0 - EARLY_STOPPING_CONFIDENCE
    above = 1.0 - percentile / 100.0
    low, high = discarded, discarded + 1
    while _few_above(high, above, discarded) > risk:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _few_above(middle, above, discarded) > risk:
            low = middle
        else:
            high = middle
    return high


def order_interval(
    n: int, percentile: float, *, confidence: float = CONFIDENCE
) -> tuple[int, int] | None:
    """Ranks (from 0) of the sorted values between which a percentile lies.

    True with at least `confidence` whatever the distribution is, for independent values: each
    tail of Bin(n, p) outside the ranks has at most half of the risk. None where n is too small.
    """
    tail = (1.0 - confidence) / 2.0
    below = _binomial_cdf(n, percentile / 100.0)
    lower = int(np.searchsorted(below, tail, side="right")) - 1
    upper = int(np.searchsorted(below, 1.0 - tail, side="left"))
    return (lower, upper) if lower >= 0 and upper < n else None


def estimate(latencies_ms: Array, percentile: float) -> Estimate:
    """A percentile by nearest rank with its interval; all None where it is not estimable."""
    n = len(latencies_ms)
    interval = order_interval(n, percentile) if n >= queries_needed(percentile) else None
    if interval is None:
        return Estimate(value_ms=None, low_ms=None, high_ms=None)
    ordered = np.sort(latencies_ms)
    rank = math.ceil(n * percentile / 100.0) - 1
    return Estimate(
        value_ms=float(ordered[rank]),
        low_ms=float(ordered[interval[0]]),
        high_ms=float(ordered[interval[1]]),
    )


def paired_ratio(
    candidate: Array, baseline: Array, *, confidence: float = CONFIDENCE
) -> tuple[float, tuple[float, float] | None]:
    """Median of the ratios of runs taken in the same round, with its interval.

    Pairing takes out what disturbs both. The interval is the order statistics' own, which the
    bootstrap of a median approaches as its resamples grow: no seed, no resampling.
    """
    ratios = np.sort(np.asarray(candidate, np.float64) / np.asarray(baseline, np.float64))
    interval = order_interval(len(ratios), 50.0, confidence=confidence)
    bounds = (float(ratios[interval[0]]), float(ratios[interval[1]])) if interval else None
    return float(np.median(ratios)), bounds


def verdict(interval: tuple[float, float] | None, *, resolution: float = 0.0) -> Verdict:
    """What an interval of latency ratios to the baseline says.

    `resolution` is the relative difference that the design cannot tell from none, however narrow
    the interval: the whole interval must lie beyond it.
    """
    if interval is None:
        return "no difference"
    if interval[1] < 1.0 - resolution:
        return "faster"
    if interval[0] > 1.0 + resolution:
        return "slower"
    return "no difference"


def _few_above(n: int, above: float, most: int) -> float:
    """P(Bin(n, above) <= most)."""
    return math.fsum(
        math.comb(n, k) * above**k * (1.0 - above) ** (n - k) for k in range(min(most, n) + 1)
    )


def _binomial_cdf(n: int, p: float) -> Floats:
    """P(Bin(n, p) <= k) for k from 0 to n, by logarithms so that large n do not underflow."""
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
    k = np.arange(n + 1)
    log_choose = log_factorial[n] - log_factorial - log_factorial[::-1]
    mass = np.exp(log_choose + k * math.log(p) + (n - k) * math.log1p(-p))
    cumulative: Floats = np.cumsum(mass)
    return cumulative
