"""Ranges from the distribution of an activation's values: percentile and entropy.

Everything is counted in passes over the data, so memory does not grow with it, and the result
depends neither on the order nor on the batching of the samples.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.precisions.audit import Ranges
from slipway.samples.arrays import Array

Counts = npt.NDArray[np.int64]
Pass = Callable[[], Iterator[Mapping[str, Array]]]

BINS: Final = 2048
CHUNK: Final = 1 << 18
# A kept range of fewer bins than this is known too coarsely: it is counted again, closer.
FINE_BINS: Final = 128
MAX_PASSES: Final = 4
# Candidate thresholds of the entropy search are this many bins apart: 0.2 % of the range.
STRIDE: Final = 4


@dataclass
class Histogram:
    """Counts in equal bins over [low, high], and how many values lie outside."""

    low: float
    high: float
    counts: Counts = field(default_factory=lambda: np.zeros(BINS, np.int64))
    below: int = 0
    above: int = 0

    def add(self, values: Array) -> None:
        """Count an array's values."""
        flat = values.reshape(-1)
        for start in range(0, flat.size, CHUNK):
            self._add(flat[start : start + CHUNK].astype(np.float64))

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """The BINS + 1 borders."""
        return np.linspace(self.low, self.high, BINS + 1)

    def _add(self, chunk: npt.NDArray[np.float64]) -> None:
        below, above = chunk < self.low, chunk > self.high
        self.below += int(below.sum())
        self.above += int(above.sum())
        inside = chunk[~(below | above)]
        index = ((inside - self.low) * (BINS / (self.high - self.low))).astype(np.int64)
        self.counts += np.bincount(np.minimum(index, BINS - 1), minlength=BINS)


def percentile_ranges(passes: Pass, extremes: Ranges, *, percentile: float) -> Ranges:
    """Ranges that keep `percentile` percent of the values, cutting equally on both sides.

    A far outlier makes the first count coarse; it is then counted again inside the range that was
    kept, so that one wrong value cannot take the resolution of all others.
    """
    found = dict(extremes)
    windows = _with_width(extremes)
    for _ in range(MAX_PASSES):
        if not windows:
            break
        coarse = {}
        for name, histogram in _count(passes, windows).items():
            found[name], bins = _kept(histogram, percentile)
            if bins < FINE_BINS:
                coarse[name] = found[name]
        windows = _with_width(coarse)
    return found


def entropy_ranges(passes: Pass, extremes: Ranges) -> Ranges:
    """Ranges whose INT8 values tell the original distribution best (least KL divergence).

    Magnitudes are counted in 2,048 bins, since fewer leave no threshold to choose
    (onnxruntime's default of 128 can only return the extremes). A range on one side of zero has
    all 256 levels; one around zero has 128 on each side.
    """
    widths = {
        name: (0.0, max(abs(low), abs(high))) for name, (low, high) in _with_width(extremes).items()
    }
    found = dict(extremes)
    for name, histogram in _count(passes, widths, magnitude=True).items():
        low, high = extremes[name]
        levels = 256 if low >= 0 or high <= 0 else 128
        threshold = float(histogram.edges[entropy_threshold(histogram.counts, levels=levels)])
        found[name] = (max(low, -threshold), min(high, threshold))
    return found


def entropy_threshold(counts: Counts, *, levels: int) -> int:
    """How many of the bins to keep, by TensorRT's search.

    The reference is the histogram with everything beyond the threshold moved into its last bin;
    the candidate is the same histogram spread evenly over each of the quantized levels. Zeros are
    exact at any scale, so the first bin counts as its neighbour does.

    Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    smoothed = counts.astype(np.float64)
    smoothed[0] = smoothed[1]
    if not smoothed.any():
        return len(counts)
    candidates = range(levels, len(counts) + 1, STRIDE)
    divergences = [_divergence(smoothed, keep, levels) for keep in candidates]
    best = int(np.argmin(divergences))
    return candidates[best] if np.isfinite(divergences[best]) else len(counts)


def _divergence(counts: npt.NDArray[np.float64], keep: int, levels: int) -> float:
    reference = counts[:keep].copy()
    reference[-1] += counts[keep:].sum()
    level = np.arange(keep) * levels // keep
    filled = reference > 0
    share = np.bincount(level, weights=filled, minlength=levels)
    total = np.bincount(level, weights=counts[:keep], minlength=levels)
    candidate = (total / np.maximum(share, 1))[level][filled]
    if not candidate.all():
        return float("inf")
    p = reference[filled] / reference.sum()
    q = candidate / candidate.sum()
    return float((p * np.log(p / q)).sum())


def _count(passes: Pass, windows: Ranges, *, magnitude: bool = False) -> dict[str, Histogram]:
    histograms = {name: Histogram(low, high) for name, (low, high) in windows.items()}
    for values in passes():
        for name, histogram in histograms.items():
            histogram.add(np.abs(values[name]) if magnitude else values[name])
    return histograms


def _kept(histogram: Histogram, percentile: float) -> tuple[tuple[float, float], int]:
    """The tightest bin edges that cut no more than asked on either side, and bins between."""
    smaller = histogram.below + np.concatenate(([0], np.cumsum(histogram.counts)))
    total = int(smaller[-1]) + histogram.above
    cut = total * (100.0 - percentile) / 200.0
    left = max(int(np.searchsorted(smaller, cut, side="right")) - 1, 0)
    right = min(int(np.searchsorted(smaller, total - cut, side="left")), BINS)
    edges = histogram.edges
    return (float(edges[left]), float(edges[right])), right - left


def _with_width(ranges: Ranges | Iterable[tuple[str, tuple[float, float]]]) -> Ranges:
    """Those that are finite and wide enough to be divided into bins."""
    pairs = ranges.items() if isinstance(ranges, Mapping) else ranges
    return {
        name: (low, high)
        for name, (low, high) in pairs
        if np.isfinite(low) and np.isfinite(high) and (high - low) / BINS > np.spacing(abs(low))
    }
