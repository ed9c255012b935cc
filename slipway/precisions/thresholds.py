"""Ranges chosen from a tensor's statistics: percentile, entropy and mean squared error.

`percentile` and `entropy` are onnxruntime's (1.31), to the last bit where they are given the same
histogram; its `entropy` has 128 bins unless called by hand, which leaves one candidate, the
extremes: it is minmax by another name. Here it has 2,048.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.precisions.histograms import BINS, Bits, Counts, Exact, Linear, bins_of
from slipway.precisions.ranges import Losses, Range
from slipway.precisions.statistics import Extremes, Floats
from slipway.precisions.tails import Tails

Doubles = npt.NDArray[np.float64]

LEVELS: Final = 255
"""Steps of an 8-bit range."""
# A kept range of fewer bins than this is known too coarsely.
FEWEST_BINS: Final = 128
_QUANTIZED: Final = 128
_EPSILON: Final = 1e-4


def cut_of(percentile: float) -> float:
    """The share of the values that a percentile cuts off: those of largest magnitude."""
    return 1.0 - percentile / 100.0


def percentile_of_tails(tails: Tails, percentile: float) -> Range | None:
    """The range that a percentile keeps, from the largest magnitudes alone.

    Where few bins are kept, because one wild value stretches them all, the values themselves decide
    and not the bins, which is all that onnxruntime has.

    None where they do not decide it: when too few were kept, or when exactly the share to cut lies
    beyond a border, so that the rounding of onnxruntime's sums over all bins decides.
    """
    cut = cut_of(percentile) * tails.count
    if cut + 1 > tails.keep < tails.count:
        return None
    farthest = max(abs(tails.low), abs(tails.high))
    sizes = np.abs(tails.top)
    counts, edges = bins_of(sizes, tails.nearest, farthest)
    above = np.concatenate([np.cumsum(counts[::-1])[::-1][1:], [0]])
    kept = int(np.argmax(above <= cut))
    if kept < FEWEST_BINS:
        return _around(float(sizes[-1 - int(cut)]), tails)
    if (np.abs(above - cut) < 1e-9 + 1e-12 * tails.count).any():
        return None
    return _around(float(edges[kept]), tails)


def percentile_of_counts(histogram: Exact, percentile: float) -> Range:
    """The range that a percentile keeps, from the whole histogram of magnitudes."""
    cumulative = np.cumsum(histogram.counts / histogram.counts.sum())
    kept = int(np.searchsorted(cumulative, percentile / 100.0))
    return _around(float(_edges(histogram)[kept]), histogram)


def entropy_range(histogram: Exact | Linear) -> Range:
    """The range whose coarser histogram diverges least from the whole one (Kullback-Leibler).

    A histogram of 2,048 bins is cut at every pair of bins around zero, what lies outside is added
    to the outermost bins, and the rest is told in 128 levels.

    Source: S. Migacz, 8-bit Inference with TensorRT, GTC 2017, as onnxruntime has it.
    """
    edges = _edges(histogram)
    halves = _HALVES if isinstance(histogram, Exact) else _HALVES[::_STRIDE]
    half = halves[int(np.argmin([_divergence(histogram.counts, half) for half in halves]))]
    middle = BINS // 2
    return _within(edges[middle - half], edges[min(middle + half + 1, BINS)], histogram)


_HALVES: Final = range(_QUANTIZED // 2, BINS // 2 + 1)
# Where the bins are not onnxruntime's anyway, candidates are this many bins apart.
_STRIDE: Final = 8


def _divergence(counts: Counts, half: int) -> np.float32:
    middle = BINS // 2
    start, end = middle - half, min(middle + half + 1, BINS)
    inside = counts[start:end]
    reference = inside.copy()
    reference[0] += counts[:start].sum()
    reference[-1] += counts[end:].sum()
    told = _in_levels(inside, reference != 0)
    p, q = _smooth(reference), _smooth(told)
    if p is None or q is None:
        return np.float32(np.inf)
    p /= p.sum()
    q /= q.sum()
    return np.float32((p * np.log(p / q)).sum())


def _in_levels(counts: Counts, filled: npt.NDArray[np.bool_]) -> Counts:
    """The counts told in 128 levels and spread again, over as many bins as had values."""
    width = counts.size // _QUANTIZED
    whole = _QUANTIZED * width
    sums = counts[:whole].reshape(_QUANTIZED, width).sum(axis=1)
    sums[-1] += counts[whole:].sum()
    shared = filled[:whole].reshape(_QUANTIZED, width).sum(axis=1)
    told = np.zeros(counts.size, np.int64)
    # Whole numbers, as onnxruntime has it.
    told[:whole] = np.repeat((sums / np.maximum(shared, 1)).astype(np.int64) * (shared > 0), width)
    return told


def _smooth(counts: Counts) -> Floats | None:
    """The counts with a little taken from each bin that has values for those that have none."""
    empty = counts == 0
    zeros = int(empty.sum())
    filled = counts.size - zeros
    if not filled:
        return None
    taken = _EPSILON * float(zeros) / float(filled)
    smooth = counts.astype(np.float32)
    smooth += np.where(empty, np.float32(_EPSILON), np.float32(-taken))
    return smooth if bool((smooth > 0).all()) else None


def mse_range(bits: Bits) -> Range:
    """The range with the least squared error of 8-bit values, clipped and rounded together.

    Rounding costs a value `min(x², step²/12)`: zero is always exact, and what is far smaller than a
    step becomes zero. Both ends are searched together first, and then in turns.
    """
    error = _SquaredError(bits)
    low, high = error.best(*error.together())
    for _ in range(_ROUNDS):
        before = (low, high)
        low, high = error.best(low, error.highs)
        low, high = error.best(error.lows, high)
        if (low, high) == before:
            break
    return low, high


_ROUNDS: Final = 8
# Where a range may end beside where values are: a sixteenth of an octave apart, for ten octaves.
_GRID: Final[Doubles] = np.exp2(-np.arange(160) / 16)


class _SquaredError:
    """The squared error of a tensor's values in eight bits, for any number of ranges at once."""

    def __init__(self, bits: Bits) -> None:
        self.low, self.high = min(bits.low, 0.0), max(bits.high, 0.0)
        values, counts = _weighed(bits)
        self._sizes, self._size_sums = _ordered(np.abs(values), counts)
        positive, negative = values > 0, values < 0
        self._above = _ordered(values[positive], counts[positive])
        self._below = _ordered(-values[negative], counts[negative])
        self.highs = np.union1d(values[positive], self.high * _GRID)
        self.lows = np.union1d(values[negative], self.low * _GRID)

    def together(self) -> tuple[Doubles, Doubles]:
        """Both ends at the same distance from zero, as far as there are values."""
        distance = np.union1d(self.highs, -self.lows)
        return np.maximum(-distance, self.low), np.minimum(distance, self.high)

    def best(self, lows: Doubles | float, highs: Doubles | float) -> Range:
        """The range of least error; the widest of equals, which clips least."""
        low, high = np.broadcast_arrays(np.atleast_1d(lows), np.atleast_1d(highs))
        errors = self.of(low, high)
        equal = np.flatnonzero(errors == errors.min())
        found = equal[np.argmax((high - low)[equal])]
        return float(low[found]), float(high[found])

    def of(self, low: Doubles, high: Doubles) -> Doubles:
        """The summed squared error."""
        noise = ((high - low) / LEVELS) ** 2 / 12
        # Values below this size cost their square, those above it the noise.
        small = np.searchsorted(self._sizes, np.sqrt(noise), side="right")
        count, _, squares = self._size_sums
        error = squares[small] + (count[-1] - count[small]) * noise
        for (sizes, sums), end in ((self._above, high), (self._below, -low)):
            inside = np.searchsorted(sizes, end, side="right")
            n, x, xx = (total[-1] - total[inside] for total in sums)
            error = error + xx - 2 * end * x + n * (end**2 - noise)
        total: Doubles = error
        return total


def losses_of(bits: Bits, chosen: Range) -> Losses:
    """What a range of eight bits loses of a tensor's values."""
    values, counts = _weighed(bits)
    low, high = min(chosen[0], 0.0), max(chosen[1], 0.0)
    half_step = (high - low) / LEVELS / 2
    # A cell's width is no loss.
    clipped = (values > high * _CELL) | (values < low * _CELL)
    some = np.abs(values) > np.finfo(np.float32).tiny
    total = counts[some].sum()
    if not total:
        return Losses(0.0, 0.0)
    vanishing = counts[some & (np.abs(values) < half_step)].sum() / total
    return Losses(float(vanishing), float(counts[some & clipped].sum() / total))


_CELL: Final = 1 + 2.0**-7


def _ordered(sizes: Doubles, counts: Doubles) -> tuple[Doubles, tuple[Doubles, Doubles, Doubles]]:
    """Sizes ascending, and the sums of counts, values and squares of those before each."""
    order = np.argsort(sizes, kind="stable")
    sizes, counts = sizes[order], counts[order]
    sums = (counts, counts * sizes, counts * sizes**2)
    count, linear, square = (np.concatenate([[0.0], np.cumsum(part)]) for part in sums)
    return sizes, (count, linear, square)


def _weighed(bits: Bits) -> tuple[Doubles, Doubles]:
    """Values and how many of each there are; where not all were counted, the outermost as kept."""
    cells = np.flatnonzero(bits.counts)
    counts = bits.counts[cells].astype(np.float64)
    # A cell stands for the middle of its values.
    middles = (cells.astype(np.uint32) << np.uint32(16)) | np.uint32(1 << 15)
    values = np.clip(middles.view(np.float32).astype(np.float64), bits.low, bits.high)
    share = bits.count / counts.sum()
    if share == 1:
        return values, counts
    top = bits.top.astype(np.float64)
    inner = np.abs(values) < np.abs(top[0])
    return np.append(values[inner], top), np.append(share * counts[inner], np.ones(top.size))


def _edges(histogram: Exact | Linear) -> Floats:
    return bins_of(np.empty(0, np.float32), histogram.first, histogram.last)[1]


def _around(distance: float, seen: Extremes) -> Range:
    return _within(-distance, distance, seen)


def _within(left: float, right: float, seen: Extremes) -> Range:
    """The range, no wider than the values."""
    return max(float(left), seen.low), min(float(right), seen.high)
