"""Golden cases made to fit a model's inputs, and golden sets given as plain npz files."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from slipway.errors import DataError, SourceNotFound
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Arrays, Samples, load_npz
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenCase, GoldenSet


def fit_case(inputs: Iterable[TensorInfo], arrays: Arrays) -> dict[str, Array]:
    """The feeds of one golden case, cast as the model needs them.

    Unlike samples, the inputs of one run need no common first dimension. Recorded inputs that the
    model does not take are left out: converters drop what has no influence.

    Raises:
        DataError: naming the input that is missing or does not fit.
    """
    return {tensor.name: _fit_one(tensor, arrays) for tensor in inputs}


def _fit_one(tensor: TensorInfo, arrays: Arrays) -> Array:
    if tensor.name not in arrays:
        raise DataError(
            f"the golden set has no input {tensor.name!r}; it has {', '.join(sorted(arrays))}"
        )
    array = arrays[tensor.name]
    if array.ndim == 0 and not tensor.shape:
        flat = TensorInfo(name=tensor.name, dtype=tensor.dtype, shape=(None,))
        return fit_inputs([flat], Samples({tensor.name: array.reshape(1)}))[tensor.name].reshape(())
    return fit_inputs([tensor], Samples({tensor.name: array}))[tensor.name]


def load_golden(path: Path, model_inputs: Collection[str]) -> GoldenSet:
    """Read a recorded golden set, or a plain npz that holds one run.

    In a plain npz the arrays named as the model's inputs are inputs, and the others are the
    source model's outputs.

    Raises:
        SourceNotFound: when there is no file.
        DataError: when an input is missing, or no array is an output.
    """
    if not path.is_file():
        raise SourceNotFound(f"no golden set at {path}")
    arrays = load_npz(path)
    if any(re.fullmatch(r"\d+/(inputs|outputs)/.+", name) for name in arrays):
        return GoldenSet.load(path)
    missing = sorted(set(model_inputs) - arrays.keys())
    if missing:
        raise DataError(
            f"{path.name} has no array named {missing[0]!r}, which the model takes; it has "
            f"{', '.join(sorted(arrays))}"
        )
    outputs = {name: array for name, array in arrays.items() if name not in model_inputs}
    if not outputs:
        raise DataError(
            f"{path.name} holds inputs alone; add the source model's outputs under their names"
        )
    inputs = {name: np.asarray(arrays[name]) for name in model_inputs}
    return GoldenSet((GoldenCase(inputs, outputs),))
