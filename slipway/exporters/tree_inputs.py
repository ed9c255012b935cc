"""What a boosted model takes: a matrix or a column per feature, and rows that try its trees."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from slipway.errors import SpecError
from slipway.exporters.recording import as_inputs
from slipway.exporters.trees import Forest, Number
from slipway.protocols import ExportRequest
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples

ROWS: Final = 64
_MISSING_SHARE: Final = 0.1
_NOUGHT: Final = 1e-30
_LARGEST: Final = float(np.finfo(np.float32).max)
_NUMBERS: Final = frozenset({"float32", "float64", "int64", "int32", "int16", "int8", "uint8"})


@dataclass(frozen=True)
class Features:
    """A model's columns in its order; `named` where the user named them."""

    names: tuple[str, ...]
    named: bool
    categories: Mapping[int, int] = field(default_factory=dict)  # by column: how many codes

    def __len__(self) -> int:
        return len(self.names)


def choose_inputs(
    features: Features, request: ExportRequest, samples: Samples | None, *, number: Number
) -> tuple[TensorInfo, ...]:
    """One input a named column; else, or where the data has it so, one matrix `X`.

    Raises:
        SpecError: when inputs are asked for that are neither.
    """
    columns = tuple(
        TensorInfo(name=name, dtype=number, shape=("batch", 1)) for name in features.names
    )
    matrix = (TensorInfo(name="X", dtype=number, shape=("batch", len(features))),)
    if request.inputs:
        return _asked(features, request)
    if samples is not None:
        return matrix if "X" in samples.arrays and "X" not in features.names else columns
    return columns if features.named else matrix


def _asked(features: Features, request: ExportRequest) -> tuple[TensorInfo, ...]:
    asked = as_inputs(request.inputs)
    for tensor in asked:
        if tensor.dtype not in _NUMBERS:
            raise SpecError(f"input {tensor.name}: boosted trees take numbers, not {tensor.dtype}")
    if len(asked) == 1 and asked[0].shape[1:] == (len(features),):
        return asked
    if {tensor.name for tensor in asked} != set(features.names):
        raise SpecError(
            f"inputs: the model takes one matrix [batch, {len(features)}], or its columns "
            f"{', '.join(features.names[:20])} as [batch, 1] each; the spec gives "
            f"{', '.join(tensor.name for tensor in asked)}"
        )
    wrong = [tensor.name for tensor in asked if tensor.shape[1:] != (1,)]
    if wrong:
        raise SpecError(f"input {wrong[0]} is a column: its shape is [batch, 1]")
    by_name = {tensor.name: tensor for tensor in asked}
    return tuple(by_name[name] for name in features.names)


def matrix_of(inputs: Sequence[TensorInfo], feeds: Mapping[str, Array], dtype: Number) -> Array:
    """The table [batch, features] that the source model takes, from arrays by input name."""
    parts = [feeds[tensor.name].astype(dtype) for tensor in inputs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def trying_rows(
    forest: Forest, features: Features, inputs: Sequence[TensorInfo], *, seed: int
) -> Samples:
    """Rows that reach many leaves: values at, between and beyond the thresholds, some missing.

    Random numbers would mostly go one way: thresholds lie on the scale of the training data.
    """
    generator = np.random.default_rng(seed)
    thresholds: dict[int, set[float]] = {}
    for split in forest.splits():
        if abs(split.value) < _LARGEST:  # beyond, it tests for missing values alone
            thresholds.setdefault(split.feature, set()).add(split.value)
    columns = [
        _codes(generator, features.categories[index])
        if index in features.categories
        else _numbers(generator, sorted(thresholds.get(index, ())))
        for index in range(len(features))
    ]
    if len(inputs) == 1 and len(features) > 1:
        return Samples({inputs[0].name: _fitted(np.stack(columns, axis=1), inputs[0])})
    return Samples(
        {
            tensor.name: _fitted(column, tensor)
            for tensor, column in zip(inputs, columns, strict=True)
        }
    )


def _fitted(values: Array, tensor: TensorInfo) -> Array:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        values = np.clip(np.nan_to_num(values), limits.min, limits.max)
    fitted: Array = values.astype(dtype)
    return fitted


def _numbers(generator: np.random.Generator, thresholds: Sequence[float]) -> Array:
    finite = np.array(thresholds)
    if not finite.size:
        values = generator.standard_normal(ROWS)
    else:
        low, high = float(finite[0]), float(finite[-1])
        margin = 0.1 * (high - low) or max(1.0, 0.1 * abs(low))
        values = generator.uniform(low - margin, high + margin, ROWS)
        exact = generator.random(ROWS) < 0.25  # noqa: PLR2004 - ties decide < from <=
        values[exact] = generator.choice(finite, int(exact.sum()))
        # LightGBM splits round nought at 1e-35, and takes what is not beyond that for nought.
        values[np.abs(values) < _NOUGHT] = 0.0
    return _with_gaps(generator, values)


def _codes(generator: np.random.Generator, count: int) -> Array:
    return _with_gaps(generator, generator.integers(0, count + 1, ROWS).astype(np.float64))


def _with_gaps(generator: np.random.Generator, values: Array) -> Array:
    values[generator.random(ROWS) < _MISSING_SHARE] = np.nan
    return values
