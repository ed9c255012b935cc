"""The outermost values of a tensor, kept exactly while all others stream by."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.precisions.statistics import Extremes, Floats, chunks
from slipway.samples.arrays import Array

Keys = npt.NDArray[np.uint32]

# A smallest magnitude below this share of the largest one moves no border of a bin.
NEGLIGIBLE: Final = 2.0**-24


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
        for chunk in chunks(values):
            self.take(chunk)

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

    def take(self, chunk: Floats) -> None:
        """Take in a piece of a batch's values."""
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
        if self._size > 4 * self._keep:
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
