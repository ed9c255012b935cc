"""Scales, zero points and the integers under them, bit for bit as onnxruntime 1.31 computes them.

Written for whole tensors at once: its own loop over channels is eight times slower.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.samples.arrays import Array

Floats = npt.NDArray[np.float32]

INT32: Final = np.iinfo(np.int32)
_TINY: Final = float(np.finfo(np.float32).tiny)
# onnxruntime leaves this much room above the largest bias that an int32 can hold.
_BIAS_ROOM: Final = np.float32(1.0001)


@dataclass(frozen=True)
class Quantization:
    """value = scale * (integer - zero_point); arrays of one size: 0-d, or one entry a channel."""

    scale: Floats
    zero_point: Array
    axis: int | None = None


def activation_quantization(low: float, high: float, *, symmetric: bool) -> Quantization:
    """For a range: uint8 over it and zero, or int8 over the widest side of it both ways."""
    bottom = min(np.float32(low), np.float32(0))
    top = max(np.float32(high), np.float32(0))
    if symmetric:
        return _symmetric(np.maximum(abs(bottom), abs(top)), steps=254.0)
    return _asymmetric(bottom, top, steps=255.0)


def weight_quantization(weight: Array, axis: int | None, *, reduce_range: bool) -> Quantization:
    """Signed and symmetric, for all of a weight or for each slice along an axis.

    With `reduce_range` the integers need 7 bits: products of two pairs then fit 16 bits.
    """
    others = tuple(i for i in range(weight.ndim) if i != axis) if axis is not None else None
    empty = weight.size == 0
    if empty:
        shape = () if axis is None else (weight.shape[axis],)
        largest = np.zeros(shape, np.float32)
    else:
        largest = np.maximum(weight.max(axis=others), -weight.min(axis=others))
    return _symmetric(largest, steps=128.0 if reduce_range else 254.0, axis=axis)


def constant_quantization(values: Array, *, symmetric: bool, reduce_range: bool) -> Quantization:
    """For a constant that is no weight, such as an addend: as for an activation of its range."""
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    bottom, top = min(np.float32(low), np.float32(0)), max(np.float32(high), np.float32(0))
    if symmetric:
        largest = np.maximum(abs(bottom), abs(top))
        return _symmetric(largest, steps=128.0 if reduce_range else 254.0)
    return _asymmetric(bottom, top, steps=127.0 if reduce_range else 255.0)


def quantize(values: Array, by: Quantization) -> Array:
    """The integers of a float32 array."""
    scale, zero = by.scale, by.zero_point
    if by.axis is not None:
        shape = [1] * values.ndim
        shape[by.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    integers = np.asarray(values / scale)
    np.round(integers, out=integers)
    if zero.any():
        integers += zero
    bounds = np.iinfo(by.zero_point.dtype)
    np.clip(integers, bounds.min, bounds.max, out=integers)
    return integers.astype(by.zero_point.dtype)


def dequantize(integers: Array, by: Quantization) -> Floats:
    """The floats that stand for integers."""
    scale, zero = by.scale, by.zero_point
    if by.axis is not None:
        shape = [1] * integers.ndim
        shape[by.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    shifted: Floats = (integers.astype(np.int32) - zero.astype(np.int32)).astype(np.float32)
    return shifted * scale


def widen_for_bias(weight: Quantization, *, input_scale: Floats, bias: Array) -> Quantization:
    """The weight's scale, raised where a bias at input times weight scale would leave int32."""
    if weight.zero_point.any() or not weight.scale.size:
        return weight
    span = np.float64(INT32.max) - np.float64(INT32.min + 1)
    magnitude = np.abs(bias)
    if weight.axis is None:
        largest = magnitude.max().astype(np.float64)
        smallest = np.float64(1.0001) * (2.0 * largest) / span
    else:
        smallest = (_BIAS_ROOM * (np.float32(2.0) * magnitude)) / span
    scale = weight.scale.astype(np.float64)
    candidate = np.float64(input_scale) * scale
    short = (candidate < smallest) & (candidate > 0)
    if not short.any():
        return weight
    ratio = np.divide(smallest, candidate, out=np.ones_like(scale), where=short)
    widened: Floats = np.where(short, scale * ratio, scale).astype(np.float32)
    return Quantization(widened, weight.zero_point, weight.axis)


def quantize_bias(
    bias: Array, *, input_scale: Floats, weight_scale: Floats
) -> tuple[Array, Floats]:
    """The int32 bias and its scale, which is the product of the two; its zero point is zero."""
    scale = np.asarray(input_scale * weight_scale, np.float32)
    integers = (bias.astype(np.float64) / scale.astype(np.float64)).round()
    integers = np.clip(integers, INT32.min, INT32.max).astype(np.int32)
    return integers.reshape(bias.shape), scale


def _symmetric(
    largest: Array | np.float32, *, steps: float, axis: int | None = None
) -> Quantization:
    width = np.asarray(largest, np.float32).astype(np.float64)
    scale = (width - -width) / steps
    usable: Floats = np.where(scale < _TINY, 1.0, scale).astype(np.float32)
    return Quantization(usable, np.zeros(usable.shape, np.int8), axis)


def _asymmetric(low: np.float32, high: np.float32, *, steps: float) -> Quantization:
    scale = (np.float64(high) - np.float64(low)) / steps
    if scale < _TINY:
        return Quantization(np.asarray(1.0, np.float32), np.asarray(0, np.uint8))
    zero_point = np.round(0 - np.float64(low) / scale)
    return Quantization(np.asarray(scale, np.float32), np.asarray(zero_point).astype(np.uint8))
