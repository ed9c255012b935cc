"""What is kept of a tensor's values while they stream by; constant memory, whatever the data.

Every statistic is exact to count and to merge: adding the same values in any order, in batches of
any size, on any number of workers, gives the same arrays bit for bit. Here are the extremes, and
the pieces in which values are gone through; `tails` and `histograms` keep more. Ranges are chosen
in `thresholds`.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from slipway.samples.arrays import Array

Kind = Literal["extremes", "tails", "bits", "linear", "exact"]
Floats = npt.NDArray[np.float32]

# Values that stay in the processor's cache while they are gone through several times.
CHUNK: Final = 1 << 16
# Tensors with so many values per sample are histogrammed by every fifth or seventeenth value or so:
# the shape of a distribution needs no more. Extremes are of all values.
STRIDES: Final = {1 << 14: (5, 7, 11), 1 << 17: (17, 19, 23)}


class Extremes:
    """Smallest and largest value; NaN once there is one."""

    def __init__(self) -> None:
        self.low, self.high, self.count = np.inf, -np.inf, 0

    def add(self, values: Array, batch: int) -> None:  # noqa: ARG002 - the batch matters to others
        """Take in a batch's values."""
        for chunk in chunks(values):
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


def sampled_chunks(values: Array, batch: int) -> Iterator[tuple[Floats, int, int]]:
    """Pieces of the values; where the sampled ones start in each, and how far apart they are."""
    stride = stride_of(values, batch)
    for row in values if stride > 1 else (values,):
        at = 0
        for chunk in chunks(row):
            yield chunk, -at % stride, stride
            at += chunk.size


def chunks(values: Array) -> Iterator[Floats]:
    """Pieces of the values, flat."""
    flat = np.ascontiguousarray(values).reshape(-1)
    for start in range(0, flat.size, CHUNK):
        yield flat[start : start + CHUNK]
