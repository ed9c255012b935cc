"""Blocks of weights as four-bit numbers, the way onnxruntime's kernels read them.

The same bytes as onnxruntime's own quantizer makes (1.31), whose interface is private. Where the
last block is filled up with an odd number, it leaves whatever it had there; here are zeros.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.samples.arrays import Array

LEVELS: Final = 15
MIDDLE: Final = 8


@dataclass(frozen=True)
class Packed:
    """Rows in blocks: two numbers a byte, the first one in the low half.

    `data` is (rows, blocks, block size / 2), `scales` (rows, blocks); `zero_points` is
    (rows, blocks / 2 rounded up), or None where it is 8 throughout.
    """

    data: Array
    scales: Array
    zero_points: Array | None


def pack_rows(values: Array, *, block_size: int, symmetric: bool) -> Packed:
    """Quantize the rows of a float32 matrix block by block; the last block is filled up with zeros.

    Symmetric blocks have the largest number, with its sign, at -8; others span from their least
    to their greatest number, zero included.
    """
    rows, columns = values.shape
    blocks = -(-columns // block_size)
    padded = np.zeros((rows, blocks * block_size), np.float32)
    padded[:, :columns] = values
    cut = padded.reshape(rows, blocks, block_size)
    low, high = cut.min(axis=2), cut.max(axis=2)
    if symmetric:
        largest = np.where(np.abs(high) > np.abs(low), high, low)
        scales = (largest / np.float32(-MIDDLE)).astype(np.float32)
        zero_points = np.full_like(scales, MIDDLE)
    else:
        low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
        scales = ((high - low) / np.float32(LEVELS)).astype(np.float32)
        zero_points = _zero_points(low, scales)
    inverse = _inverse(scales)
    levels = _round(cut * inverse[:, :, np.newaxis] + zero_points[:, :, np.newaxis])
    levels.reshape(rows, -1)[:, columns:] = 0  # the kernels read nothing there
    return Packed(
        data=_pair(levels),
        scales=scales,
        zero_points=None if symmetric else _pair(_even(zero_points.astype(np.uint8))),
    )


def unpair(packed: Array) -> Array:
    """The numbers of bytes that hold two, in their order."""
    both = np.stack([packed & 0xF, packed >> 4], axis=-1)
    return both.reshape(*packed.shape[:-1], -1)


def _zero_points(low: Array, scales: Array) -> Array:
    used = scales != 0
    exact = np.divide(-low, scales, out=np.zeros_like(scales), where=used)
    return _round(exact).astype(np.float32)


def _inverse(scales: Array) -> Array:
    """One over each scale, and 0 for a block of zeros."""
    return np.divide(np.float32(1), scales, out=np.zeros_like(scales), where=scales != 0)


def _round(values: Array) -> Array:
    """To the nearest level, halves up as C's roundf does; numpy's rint would take the even one."""
    return np.clip(np.floor(values.astype(np.float64) + 0.5), 0, LEVELS).astype(np.uint8)


def _even(levels: Array) -> Array:
    """With one more column of 8 where there is an odd number of them."""
    odd = levels.shape[-1] % 2
    return np.pad(levels, ((0, 0), (0, odd)), constant_values=MIDDLE)


def _pair(levels: Array) -> Array:
    """Two neighbours in one byte, the first in the low half."""
    packed: Array = levels[..., 0::2] | (levels[..., 1::2] << 4)
    return packed
