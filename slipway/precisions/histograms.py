"""Histograms of a tensor's values: of unknown range, of a growing one, and of one known before."""

from collections.abc import Mapping
from typing import Final, cast

import numpy as np
import numpy.typing as npt

from slipway.precisions.statistics import Extremes, Floats, sampled_chunks
from slipway.precisions.tails import Tails
from slipway.samples.arrays import Array

Counts = npt.NDArray[np.int64]

BINS: Final = 2048
# Waiting cells of many small tensors would add up to megabytes, as more and more samples come.
_PENDING: Final = 1 << 15


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
        for chunk, offset, stride in sampled_chunks(values, batch):
            self.take(chunk)
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
            cells = np.concatenate(self._waiting)
            first = cells.min()
            found = np.bincount(cells - first)
            # Cells that no value reaches are not touched, so that no memory is behind them.
            self._counts[first : first + found.size] += found
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
        for chunk, offset, stride in sampled_chunks(values, batch):
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


def _exponent(value: float) -> int:
    """The power of two above a value; the smallest that float32 divides by for zero."""
    return max(int(np.frexp(value)[1]), -100)
