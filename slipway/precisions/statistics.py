"""What is kept of a tensor's values while they stream by; constant memory, whatever the data.

Every statistic is exact to count and to merge: adding the same values in any order, in batches of
any size, on any number of workers, gives the same arrays bit for bit. Ranges are chosen from them
in `thresholds`.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt

from slipway.samples.arrays import Array

Kind = Literal["extremes", "tails", "bits", "linear", "exact"]
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Keys = npt.NDArray[np.uint32]

BINS: Final = 2048
# Values that stay in the processor's cache while they are gone through several times.
CHUNK: Final = 1 << 16
# Tensors with so many values per sample are histogrammed by every fifth or seventeenth value or so:
# the shape of a distribution needs no more. Extremes are of all values.
STRIDES: Final = {1 << 14: (5, 7, 11), 1 << 17: (17, 19, 23)}
_PENDING: Final = 1 << 17
# A smallest magnitude below this share of the largest one moves no border of a bin.
NEGLIGIBLE: Final = 2.0**-24


class Extremes:
    """Smallest and largest value; NaN once there is one."""

    def __init__(self) -> None:
        self.low, self.high, self.count = np.inf, -np.inf, 0

    def add(self, values: Array, batch: int) -> None:  # noqa: ARG002 - the batch matters to others
        """Take in a batch's values."""
        for chunk in _chunks(values):
            self._reach(chunk.min(), chunk.max(), chunk.size)

    def merge(self, other: "Extremes") -> None:
        """Take in what another worker saw."""
        self._reach(other.low, other.high, other.count)

    def pack(self) -> dict[str, Array]:
        """The two values and how many there were."""
        return {
            "extremes": np.array([self.low, self.high], np.float64),
            "count": np.array([self.count], np.int64),
        }

    def unpack(self, arrays: Mapping[str, Array]) -> None:
        """Become what was packed."""
        self.low, self.high = (float(value) for value in arrays["extremes"])
        self.count = int(arrays["count"][0])

    def _reach(self, low: float, high: float, count: int) -> None:
        # np.minimum lets NaN through, where min() would depend on the order.
        self.low = float(np.minimum(self.low, low))
        self.high = float(np.maximum(self.high, high))
        self.count += int(count)


class Tails(Extremes):
    """The `keep` values of largest magnitude, and the smallest magnitude.

    That is all that a high percentile depends on.
    """

    def __init__(self, keep: int, *, exactly: bool = True) -> None:
        super().__init__()
        self.keep = keep
        self._nearest = np.inf
        self._negligible = 0.0 if exactly else NEGLIGIBLE
        self._top = _Largest(keep)

    @property
    def nearest(self) -> float:
        """The smallest magnitude; zero where it is negligible beside the largest one."""
        return 0.0 if self._is_negligible() else self._nearest

    @property
    def top(self) -> Floats:
        """The values of largest magnitude, the largest last."""
        return _values(self._top.settled())

    def add(self, values: Array, batch: int) -> None:  # noqa: ARG002 - the batch matters to others
        """Take in a batch's values."""
        for chunk in _chunks(values):
            self._take(chunk)

    def merge(self, other: Extremes) -> None:
        """Take in what another worker kept."""
        super().merge(other)
        if isinstance(other, Tails):
            self._nearest = float(np.minimum(self._nearest, other.nearest))
            self._top.add(_keys(other.top))

    def pack(self) -> dict[str, Array]:
        """The values."""
        return {**super().pack(), "top": self.top, "nearest": np.array([self.nearest])}

    def unpack(self, arrays: Mapping[str, Array]) -> None:
        """Become what was packed."""
        super().unpack(arrays)
        self._nearest = float(arrays["nearest"][0])
        self._top = _Largest(self.keep)
        self._top.add(_keys(arrays["top"]))

    def _take(self, chunk: Floats) -> None:
        low, high = chunk.min(), chunk.max()
        self._reach(low, high, chunk.size)
        if not self._is_negligible():
            self._nearest = float(np.minimum(self._nearest, np.abs(chunk).min()))
        if max(-low, high) >= self._top.reach:
            self._top.add(_keys(chunk))

    def _is_negligible(self) -> bool:
        """Whether no smaller magnitude matters any more; what once is so stays so."""
        return self._nearest <= self._negligible * max(-self.low, self.high)


class _Largest:
    """The largest keys seen, behind a floor that rises as better ones come."""

    def __init__(self, keep: int) -> None:
        self.reach = 0.0
        """The magnitude from which on a value may belong here."""
        self._floor = np.uint32(0)
        self._keep = keep
        self._found: list[Keys] = []
        self._size = 0

    def add(self, keys: Keys) -> None:
        better = keys[keys > self._floor] if self._floor else keys
        self._found.append(better)
        self._size += better.size
        if self._size > 4 * self._keep + CHUNK:
            self._settle()

    def settled(self) -> Keys:
        self._settle()
        return np.sort(np.concatenate(self._found)) if self._found else np.empty(0, np.uint32)

    def _settle(self) -> None:
        if self._size > self._keep:
            keys = np.concatenate(self._found)
            best = np.partition(keys, keys.size - self._keep)[keys.size - self._keep :]
            self._found, self._size, self._floor = [best], best.size, best.min()
            self.reach = float(abs(_values(best.min(keepdims=True))[0]))


def _keys(values: Floats) -> Keys:
    """Integers in the order of magnitudes, signs telling equal ones apart: a total order."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits << np.uint32(1)) | (bits >> np.uint32(31))


def _values(keys: Keys) -> Floats:
    return ((keys >> np.uint32(1)) | (keys << np.uint32(31))).view(np.float32)


class Bits(Tails):
    """Counts by the upper half of a float32: sign, exponent and 7 bits, 128 cells an octave.

    No range has to be known beforehand, and one wild value takes no resolution from the others. Of
    large tensors a fifth is counted, and the values of largest magnitude are all kept beside.
    """

    CELLS: Final = 1 << 16

    def __init__(self, keep: int) -> None:
        super().__init__(keep)
        self._nearest = 0.0
        self._counts: Counts = np.zeros(self.CELLS, np.int64)
        self._waiting: list[npt.NDArray[np.uint16]] = []
        self._size = 0

    @property
    def counts(self) -> Counts:
        """How many of the values that were looked at have each upper half."""
        self._settle()
        return self._counts

    def add(self, values: Array, batch: int) -> None:
        """Take in a batch's values."""
        for chunk, offset, stride in _sampled_chunks(values, batch):
            self._take(chunk)
            cells = chunk.view(np.uint16)[1 + 2 * offset :: 2 * stride].copy()
            self._waiting.append(cells)
            self._size += cells.size
        if self._size > _PENDING:
            self._settle()

    def merge(self, other: Extremes) -> None:
        """Take in what another worker counted."""
        super().merge(other)
        if isinstance(other, Bits):
            self._settle()
            self._counts += other.counts

    def pack(self) -> dict[str, Array]:
        """The cells that have values, and their counts."""
        cells = np.flatnonzero(self.counts)
        return {
            **super().pack(),
            "cells": cells.astype(np.int32),
            "counts": self._counts[cells],
        }

    def unpack(self, arrays: Mapping[str, Array]) -> None:
        """Become what was packed."""
        super().unpack(arrays)
        self._counts = np.zeros(self.CELLS, np.int64)
        self._counts[arrays["cells"]] = arrays["counts"]

    def _settle(self) -> None:
        if self._waiting:
            self._counts += np.bincount(np.concatenate(self._waiting), minlength=self.CELLS)
            self._waiting, self._size = [], 0


class Linear(Extremes):
    """Counts in 2,048 equal bins over plus and minus the power of two above all values.

    When a larger value comes, bins are joined in pairs: the result does not depend on the order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.exponent: int | None = None

    @property
    def last(self) -> float:
        """The power of two, where the bins end."""
        return float(np.ldexp(1.0, self.exponent or 0))

    @property
    def first(self) -> float:
        """Where the bins begin."""
        return -self.last

    def add(self, values: Array, batch: int) -> None:
        """Take in a batch's values; once there are infinities or NaN, none is counted any more."""
        for chunk, offset, stride in _sampled_chunks(values, batch):
            self._reach(chunk.min(), chunk.max(), chunk.size)
            farthest = max(abs(self.low), abs(self.high))
            if np.isfinite(farthest) and not np.isnan(self.low):
                self._grow(_exponent(farthest))
                scaled = chunk[offset::stride] * np.float32(BINS / 2 / self.last)
                index = np.floor(scaled, out=scaled).astype(np.int64)
                index += BINS // 2
                self.counts += np.bincount(index, minlength=BINS)

    def merge(self, other: Extremes) -> None:
        """Take in what another worker counted."""
        super().merge(other)
        if isinstance(other, Linear) and other.exponent is not None:
            self._grow(other.exponent)
            theirs = Linear()
            theirs.counts, theirs.exponent = other.counts, other.exponent
            theirs._grow(self.exponent or 0)
            self.counts += theirs.counts

    def pack(self) -> dict[str, Array]:
        """The counts and the power of two."""
        known = [] if self.exponent is None else [self.exponent]
        return {**super().pack(), "counts": self.counts, "exponent": np.array(known, np.int64)}

    def unpack(self, arrays: Mapping[str, Array]) -> None:
        """Become what was packed."""
        super().unpack(arrays)
        self.counts = arrays["counts"].copy()
        self.exponent = int(arrays["exponent"][0]) if arrays["exponent"].size else None

    def _grow(self, exponent: int) -> None:
        while self.exponent is not None and self.exponent < exponent:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : BINS // 4 + BINS // 2] = pairs
            self.exponent += 1
        self.exponent = exponent if self.exponent is None else self.exponent


class Exact(Extremes):
    """Counts in 2,048 equal bins between limits known from a pass before, of magnitudes if asked.

    The bins and their borders are those of onnxruntime's histogram calibrators.
    """

    def __init__(self, first: float, last: float, *, magnitudes: bool) -> None:
        super().__init__()
        self.first, self.last = first, last
        self._magnitudes = magnitudes
        self.counts: Counts = np.zeros(BINS, np.int64)

    def add(self, values: Array, batch: int) -> None:
        """Take in a batch's values."""
        super().add(values, batch)
        counted = np.abs(values) if self._magnitudes else values
        self.counts += bins_of(counted, self.first, self.last)[0]

    def merge(self, other: Extremes) -> None:
        """Take in what another worker counted."""
        super().merge(other)
        if isinstance(other, Exact):
            self.counts += other.counts

    def pack(self) -> dict[str, Array]:
        """The counts."""
        return {**super().pack(), "counts": self.counts}

    def unpack(self, arrays: Mapping[str, Array]) -> None:
        """Become what was packed."""
        super().unpack(arrays)
        self.counts = arrays["counts"].copy()


def bins_of(values: Array, first: float, last: float) -> tuple[Counts, Floats]:
    """Counts in 2,048 equal bins from first to last, and the bins' borders.

    As onnxruntime calls it: with float32 limits, which decide how the borders are rounded.
    """
    ends = (np.float32(first), np.float32(last))
    counts, edges = np.histogram(values, BINS, range=cast("tuple[float, float]", ends))
    return counts, edges.astype(np.float32)


def stride_of(values: Array, batch: int) -> int:
    """Every how many-th value of each sample a histogram takes: all of small tensors.

    The step starts anew with each sample, so that batching changes nothing, and divides no
    dimension, so that it meets every channel. Where the first dimension is not the batch, all
    values are taken.
    """
    if values.ndim == 0 or values.shape[0] != batch:
        return 1
    found = 1
    for size, strides in STRIDES.items():
        if values.size >= batch * size:
            fitting = (s for s in strides if all(length % s for length in values.shape[1:]))
            found = next(fitting, found)
    return found


def _sampled_chunks(values: Array, batch: int) -> Iterator[tuple[Floats, int, int]]:
    """Pieces of the values; where the sampled ones start in each, and how far apart they are."""
    stride = stride_of(values, batch)
    for row in values if stride > 1 else (values,):
        at = 0
        for chunk in _chunks(row):
            yield chunk, -at % stride, stride
            at += chunk.size


def _chunks(values: Array) -> Iterator[Floats]:
    flat = np.ascontiguousarray(values).reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK]


def _exponent(value: float) -> int:
    """The power of two above a value; the smallest that float32 divides by for zero."""
    return max(int(np.frexp(value)[1]), -100)
