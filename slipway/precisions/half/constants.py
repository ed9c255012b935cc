"""Constants in float16: what it holds, what has to be clamped, and what it would lose."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from slipway.errors import UnreadableModel
from slipway.precisions.half.values import HalfValue, Reader
from slipway.samples.arrays import Array

LARGEST: Final = float(np.finfo(np.float16).max)
SMALLEST: Final = float(np.finfo(np.float16).smallest_subnormal)
SMALLEST_NORMAL: Final = float(np.finfo(np.float16).smallest_normal)

CHUNK: Final = 1 << 22
"""Numbers looked at together, so that memory does not grow with a weight."""

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
class Lost:
    """How many elements of a constant were changed beyond rounding."""

    clamped: int
    flushed: int


@dataclass(frozen=True)
class Rounded(Lost):
    """A constant in float16."""

    tensor: onnx.TensorProto


def read_values(tensor: onnx.TensorProto, folder: Path) -> Array:
    """The numbers of a float32 tensor; external ones stay on the disk until they are used.

    Raises:
        UnreadableModel: when external data is not there, or too short.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return numpy_helper.to_array(tensor)
    place = {entry.key: entry.value for entry in tensor.external_data}
    shape = tuple(tensor.dims)
    if 0 in shape:
        return np.zeros(shape, np.float32)
    try:
        offset = int(place.get("offset", 0))
        values: Array = np.memmap(
            folder / place["location"], dtype=np.float32, mode="r", offset=offset, shape=shape
        )
    except (OSError, ValueError, KeyError) as error:
        raise UnreadableModel(f"external data of {tensor.name} cannot be read: {error}") from error
    return values


def round_constant(tensor: onnx.TensorProto, name: str, folder: Path) -> Rounded:
    """The constant in float16; beyond its range stands the largest number that it has."""
    values = read_values(tensor, folder).reshape(-1)
    halves = np.empty(values.shape, np.float16)
    clamped = flushed = 0
    for start in range(0, values.size, CHUNK):
        part = np.asarray(values[start : start + CHUNK])
        beyond = np.isfinite(part) & (np.abs(part) > LARGEST)
        clamped += int(np.count_nonzero(beyond))
        half = np.where(beyond, np.copysign(np.float32(LARGEST), part), part).astype(np.float16)
        flushed += int(np.count_nonzero((half == 0) & (part != 0)))
        halves[start : start + CHUNK] = half
    made = numpy_helper.from_array(halves.reshape(tuple(tensor.dims)), name)
    return Rounded(clamped, flushed, made)


def soften_masks(values: dict[str, HalfValue], folder: Path) -> dict[str, int]:
    """In place: numbers that stand for infinity become ±40000; how many, by constant.

    In float32 nodes, too: what they compute from -3e38 may be cast to float16 later on. Bounds of
    Clip, Max, Min and Pad stay: there they mean that there is no bound.
    """
    softened = {}
    for name, value in values.items():
        tensor = value.constant
        if tensor is None or any(is_bound(reader) for reader in value.readers):
            continue
        array = read_values(tensor, folder)
        if array.size == 0 or max(abs(float(np.min(array))), abs(float(np.max(array)))) < STAND_IN:
            continue
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


def objection(tensor: onnx.TensorProto, reader: Reader, folder: Path) -> str | None:
    """Why a constant cannot be float16 where it is read, or None."""
    epsilon = _epsilon(reader)
    largest, loss = _losses(read_values(tensor, folder), epsilon)
    if largest > LARGEST:
        if is_bound(reader) and largest >= STAND_IN:
            return None
        return f"{tensor.name} reaches {largest:g}, beyond float16's {LARGEST:g}"
    if loss > LARGEST_LOSS:
        return f"{tensor.name} loses {loss:.1%} to float16, whose normal numbers start at 6.1e-05"
    return None


def _epsilon(reader: Reader) -> float | None:
    """What is added to a variance before its root: how much of each one matters."""
    node = reader.node
    if node is None or (node.op_type, reader.position) != ("BatchNormalization", 4):
        return None
    return next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)


def _losses(values: Array, epsilon: float | None) -> tuple[float, float]:
    """The largest finite magnitude, and the share that rounding loses: of the norm, or at worst."""
    flat = values.reshape(-1)
    largest = worst = lost = total = 0.0
    for start in range(0, flat.size, CHUNK):
        part = np.asarray(flat[start : start + CHUNK])
        wide = part[np.isfinite(part)].astype(np.float64)
        if not wide.size:
            continue
        largest = max(largest, float(np.abs(wide).max()))
        with np.errstate(over="ignore"):
            off = np.nan_to_num(wide - wide.astype(np.float16), posinf=0.0, neginf=0.0)
        total += float(wide @ wide)
        lost += float(off @ off)
        if epsilon is not None:
            worst = max(worst, float((np.abs(off) / (np.abs(wide) + epsilon)).max()))
    if epsilon is not None:
        return largest, worst
    return largest, math.sqrt(lost / total) if total else 0.0
