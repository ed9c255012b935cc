"""Samples made to fit a model's inputs: names, dtypes, shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from slipway.errors import DataError
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples


def fit_inputs(inputs: Sequence[TensorInfo], samples: Samples) -> dict[str, Array]:
    """The arrays that a model's inputs need, cast without loss of kind and reshaped.

    A flat column of n values becomes (n, 1) where the input has two dimensions. Numbers are cast
    to the input's number type: floats are never made whole, and nothing outside its range is
    wrapped or made infinite; strings stay strings.

    Raises:
        DataError: naming the input, what it needs and what was given.
    """
    return {tensor.name: _cast(tensor, _shaped(tensor, samples[tensor.name])) for tensor in inputs}


def check_fit(inputs: Sequence[TensorInfo], samples: Samples) -> None:
    """Refuse samples of other names, shapes or kinds than the inputs', whatever their values.

    Raises:
        DataError: naming the input, what it needs and what was given.
    """
    for tensor in inputs:
        _cast(tensor, _shaped(tensor, samples[tensor.name])[:0])


def _shaped(tensor: TensorInfo, array: Array) -> Array:
    rank = len(tensor.shape)
    if array.ndim == 1 and rank == 2:  # noqa: PLR2004 - a column of a table
        array = array[:, np.newaxis]
    if array.ndim != rank or any(
        isinstance(want, int) and want != have
        for want, have in zip(tensor.shape[1:], array.shape[1:], strict=False)
    ):
        raise DataError(
            f"{tensor.name} has shape {list(array.shape)}, the model takes "
            f"[{', '.join(str(size) for size in tensor.shape)}]"
        )
    return array


def _cast(tensor: TensorInfo, array: Array) -> Array:
    if tensor.dtype == "string":
        if array.dtype.kind not in "US":
            raise DataError(f"{tensor.name} holds {array.dtype}, the model takes strings")
        return array.astype(object)
    target = np.dtype(tensor.dtype)
    if array.dtype == target:
        return array
    if array.dtype.kind not in "biuf" or (target.kind in "iub" and array.dtype.kind == "f"):
        raise DataError(f"{tensor.name} holds {array.dtype}, the model takes {tensor.dtype}")
    _check_range(tensor.name, array, target)
    return array.astype(target)


def _check_range(name: str, array: Array, target: np.dtype[Any]) -> None:
    """Refuse numbers that the target type would wrap, flatten or make infinite."""
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if not finite.size:
        return
    # As Python's numbers, which compare exactly whatever the types.
    smallest, largest = finite.min().item(), finite.max().item()
    low, high = _limits(target)
    if smallest < low or largest > high:
        raise DataError(f"{name} holds values outside {target} ({smallest} to {largest})")


def _limits(target: np.dtype[Any]) -> tuple[float, float]:
    if target.kind == "f":
        return float(np.finfo(target).min), float(np.finfo(target).max)
    if target.kind == "b":
        return 0, 1
    return int(np.iinfo(target).min), int(np.iinfo(target).max)
