"""Golden inputs: at several shapes, from the user's data where there is some, else made up.

The second shape matters: exports that are right at the traced shape and wrong elsewhere exist.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from slipway.errors import DataError
from slipway.isolation.interpreters import ABSENT, versions_here
from slipway.protocols import ExportRequest
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples, load_samples
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import TensorSpec

GOLDEN_BATCH_SIZES: Final = (1, 3, 32)
_OTHER_SIZES: Final = (8, 5, 12)

Source = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def record_golden(cases: Sequence[Mapping[str, Array]], source: Source) -> GoldenSet:
    """Run the source model on each case and keep what it answered."""
    return GoldenSet(tuple(GoldenCase(inputs=case, outputs=source(case)) for case in cases))


def golden_samples(request: ExportRequest) -> Samples | None:
    """The rows that golden cases are taken from: golden data, else any data that was given."""
    path = request.golden_inputs or request.sample_data
    if path is None:
        return None
    samples = load_samples(path)
    if request.golden_inputs is None and request.labels in samples.arrays:
        return samples.without(request.labels)
    return samples


def golden_cases(
    inputs: Sequence[TensorInfo], samples: Samples | None, *, seed: int
) -> list[dict[str, Array]]:
    """Inputs at up to three batch sizes (1, 3, 32), or at the only one that the model has.

    Raises:
        DataError: when data does not fit the inputs, has too few rows, or is needed.
    """
    if samples is None:
        return _made_up(inputs, seed)
    fixed = _fixed_batch(inputs)
    sizes = (fixed,) if fixed is not None else GOLDEN_BATCH_SIZES
    usable = [size for size in sizes if size <= len(samples)]
    if not usable:
        raise DataError(
            f"the data that golden rows are taken from has {len(samples)}, the model takes batches "
            f"of {sizes[0]}"
        )
    fitted = fit_inputs(inputs, samples.rows(0, max(usable)))
    return [{name: array[:size] for name, array in fitted.items()} for size in usable]


def as_inputs(specs: Mapping[str, TensorSpec]) -> tuple[TensorInfo, ...]:
    """What a spec says of the inputs, as a model would."""
    return tuple(
        TensorInfo(name=name, dtype=spec.dtype, shape=spec.shape) for name, spec in specs.items()
    )


def tool_versions(*packages: str) -> dict[str, str]:
    """Installed versions by package name, without importing the packages."""
    found = versions_here(packages)
    return {package: found[package] for package in packages if found[package] != ABSENT}


def _fixed_batch(inputs: Sequence[TensorInfo]) -> int | None:
    sizes = [tensor.shape[0] for tensor in inputs if tensor.shape]
    fixed = [size for size in sizes if isinstance(size, int)]
    return fixed[0] if fixed else None


def _made_up(inputs: Sequence[TensorInfo], seed: int) -> list[dict[str, Array]]:
    generator = np.random.default_rng(seed)
    dynamic = any(not isinstance(size, int) for tensor in inputs for size in tensor.shape)
    return [
        {
            tensor.name: _random(tensor, _sizes(inputs, tensor, index), generator)
            for tensor in inputs
        }
        for index in range(len(GOLDEN_BATCH_SIZES) if dynamic else 1)
    ]


def _sizes(inputs: Sequence[TensorInfo], tensor: TensorInfo, index: int) -> list[int]:
    """Sizes of one case: the batch dimension's name decides, wherever it stands."""
    batch_names = {other.shape[0] for other in inputs if other.shape}
    return [
        size
        if isinstance(size, int)
        else GOLDEN_BATCH_SIZES[index]
        if axis == 0 or size in batch_names
        else _OTHER_SIZES[index]
        for axis, size in enumerate(tensor.shape)
    ]


def _random(tensor: TensorInfo, sizes: Sequence[int], generator: np.random.Generator) -> Array:
    if tensor.dtype == "string":
        raise DataError(
            f"input {tensor.name} takes strings, which cannot be made up: give data.golden"
        )
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return generator.standard_normal(sizes).astype(dtype)
    return generator.integers(0, 2 if dtype.kind == "b" else 8, sizes).astype(dtype)
