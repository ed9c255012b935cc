"""Constants in float16: what it holds, what has to be clamped, and what it would lose."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.precisions.half.values import HalfValue, Reader
from slipway.samples.arrays import Array

LARGEST: Final = float(np.finfo(np.float16).max)
SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
SMALLEST_NORMAL: Final = float(np.finfo(np.float16).smallest_normal)

# finfo(float32).min and the like stand for minus infinity in attention masks.
STAND_IN: Final = 1e30
# What takes their place. Its softmax is 0, as before; a score of up to 16 is still absorbed, so
# that a row that is masked as a whole stays uniform; and adding any score stays above -65504,
# where -65504 itself becomes minus infinity, and NaN in a row of them.
MASK: Final = 40_000.0
# Rounding to float16 costs 3e-4 of a normal number; more is lost where numbers are subnormal.
LARGEST_LOSS: Final = 1e-3

_BOUNDS: Final = {"Clip": {1, 2}, "Max": None, "Min": None, "Pad": {2}}


@dataclass(frozen=True)
class Rounded:
    """A constant in float16, and how many elements were changed beyond rounding."""

    tensor: onnx.TensorProto
    clamped: int
    flushed: int


def read_values(tensor: onnx.TensorProto) -> Array:
    """The numbers of a float32 tensor."""
    return numpy_helper.to_array(tensor)


def round_constant(tensor: onnx.TensorProto, name: str) -> Rounded:
    """The constant in float16; beyond its range stands the largest number that it has."""
    values = read_values(tensor)
    beyond = np.isfinite(values) & (np.abs(values) > LARGEST)
    halves = np.clip(values, -LARGEST, LARGEST, where=beyond, out=values.copy()).astype(np.float16)
    flushed = int(np.count_nonzero((halves == 0) & (values != 0)))
    return Rounded(numpy_helper.from_array(halves, name), int(np.count_nonzero(beyond)), flushed)


def soften_masks(values: dict[str, HalfValue]) -> dict[str, int]:
    """In place: numbers that stand for infinity become ±40000; how many, by constant.

    In float32 nodes, too: what they compute from -3e38 may be cast to float16 later on. Bounds of
    Clip, Max, Min and Pad stay: there they mean that there is no bound.
    """
    softened = {}
    for name, value in values.items():
        tensor = value.constant
        if tensor is None or any(is_bound(reader) for reader in value.readers):
            continue
        array = read_values(tensor)
        beyond = np.isfinite(array) & (np.abs(array) >= STAND_IN)
        if beyond.any():
            array = np.where(beyond, np.copysign(np.float32(MASK), array), array)
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))
            softened[name] = int(np.count_nonzero(beyond))
    return softened


def is_bound(reader: Reader) -> bool:
    """Whether a constant is a bound there, so that clamping it changes nothing."""
    node = reader.node
    if node is None or node.op_type not in _BOUNDS:
        return False
    positions = _BOUNDS[node.op_type]
    return positions is None or reader.position in positions


def objection(tensor: onnx.TensorProto, reader: Reader) -> str | None:
    """Why a constant cannot be float16 where it is read, or None."""
    values = read_values(tensor)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return None
    largest = float(np.abs(finite).max())
    if largest > LARGEST:
        if is_bound(reader) and largest >= STAND_IN:
            return None
        return f"{tensor.name} reaches {largest:g}, beyond float16's {LARGEST:g}"
    wide = finite.astype(np.float64)
    lost = wide - finite.astype(np.float16).astype(np.float64)
    node = reader.node
    if node is not None and (node.op_type, reader.position) == ("BatchNormalization", 4):
        epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
        loss = float((np.abs(lost) / (np.abs(wide) + epsilon)).max())
    else:
        norm = float(np.linalg.norm(wide))
        loss = float(np.linalg.norm(lost)) / norm if norm else 0.0
    if loss > LARGEST_LOSS:
        return f"{tensor.name} loses {loss:.1%} to float16, whose normal numbers start at 6.1e-05"
    return None
