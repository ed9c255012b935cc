"""Two-level bootstrap: processes first, then the runs inside them.

Runs of one process share its memory layout, so a thousand of them are no thousand independent
values. Nothing is resampled run by run: the median of a resample of n sorted values is the value
at a rank that follows a Beta distribution, which is drawn directly and gives the same intervals.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from slipway.benchmarking.statistics import CONFIDENCE, Floats, estimate
from slipway.reports import Estimate
from slipway.samples.arrays import Array

RESAMPLES: Final = 400
SEED: Final = 0


def ratio_of(
    processes: Sequence[Array], *, confidence: float = CONFIDENCE
) -> tuple[float, tuple[float, float] | None]:
    """The latency ratio over several processes, each with its paired ratios, and its interval.

    The ratio is the geometric mean of the processes' medians. The interval is Student's t on the
    bootstrap's standard error, with a process fewer than there are degrees of freedom's worth:
    few processes tell little about how processes differ. None with a single process.
    """
    logs = [np.sort(np.log(np.asarray(ratios, np.float64))) for ratios in processes]
    centre = float(np.mean([np.median(ratios) for ratios in logs]))
    count = len(logs)
    if count == 1:
        return math.exp(centre), None
    random = np.random.default_rng(SEED)
    picks = random.integers(0, count, (RESAMPLES, count))
    medians = np.stack([_resampled_medians(ratios, random, picks.shape) for ratios in logs])
    drawn = np.take_along_axis(medians, picks[np.newaxis], axis=0)[0]
    error = float(drawn.mean(axis=1).std()) * math.sqrt(count / (count - 1))
    half = student_t(0.5 + confidence / 2.0, count - 1) * error
    return math.exp(centre), (math.exp(centre - half), math.exp(centre + half))


def pooled(processes: Sequence[Array], percentiles: Sequence[float]) -> tuple[Estimate, ...]:
    """Percentiles over the runs of several processes, with their intervals.

    An interval holds both the order statistics' own, which is all that one process can tell,
    and the bootstrap's over processes, widened for how few they are (the expanded percentile
    interval of Hesterberg, "What Teachers Should Know About the Bootstrap", 2015). All None where
    a percentile needs more runs than there are.
    """
    runs = np.concatenate([np.asarray(values, np.float64) for values in processes])
    known = tuple(estimate(runs, percentile) for percentile in percentiles)
    count, n = len(processes), len(runs)
    if count == 1:
        return known
    random = np.random.default_rng(SEED)
    order = np.argsort(runs, kind="stable")
    owners = np.repeat(np.arange(count), [len(values) for values in processes])[order]
    # How many runs of each process lie at or below each run, weighted by a resample of processes.
    below = np.cumsum(owners == np.arange(count)[:, np.newaxis], axis=1, dtype=np.float32)
    weights = random.multinomial(count, [1.0 / count] * count, RESAMPLES).astype(np.float32)
    shares = weights @ below
    tail = expanded_tail(CONFIDENCE, count)

    def widened(percentile: float, found: Estimate) -> Estimate:
        if found.low_ms is None or found.high_ms is None:
            return found
        rank = math.ceil(n * percentile / 100.0)
        levels = random.beta(rank, n - rank + 1, RESAMPLES)[:, np.newaxis] * shares[:, -1:]
        at = np.minimum(np.count_nonzero(shares < levels, axis=1), n - 1)
        low, high = np.quantile(runs[order][at], [tail, 1.0 - tail])
        return Estimate(
            value_ms=found.value_ms,
            low_ms=min(float(low), found.low_ms),
            high_ms=max(float(high), found.high_ms),
        )

    return tuple(map(widened, percentiles, known))


def expanded_tail(confidence: float, count: int) -> float:
    """The quantile to take of a bootstrap over `count` things for that confidence."""
    t = student_t(0.5 + confidence / 2.0, count - 1)
    return NormalDist().cdf(-math.sqrt(count / (count - 1)) * t)


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's distribution, by bisection of its closed form."""
    low, high = 0.0, 1.0
    while _t_cdf(high, freedom) < probability:
        high *= 2.0
    for _ in range(60):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _t_cdf(middle, freedom) < probability else (low, middle)
    return high


def _t_cdf(t: float, freedom: int) -> float:
    """P(T <= t) for whole degrees of freedom: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    within = (angle + sine * total) * 2.0 / math.pi if odd else sine * total
    return 0.5 + within / 2.0


def _resampled_medians(
    ordered: Floats, random: np.random.Generator, shape: tuple[int, ...]
) -> Floats:
    middle = (len(ordered) + 1) / 2.0
    ranks = random.beta(middle, middle, shape) * len(ordered)
    found: Floats = ordered[np.minimum(ranks.astype(np.intp), len(ordered) - 1)]
    return found
