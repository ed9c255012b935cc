"""Feeds for a benchmark: the golden set's largest case, repeated to the batch size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slipway.errors import DataError
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Arrays, Samples
from slipway.samples.fitting import fit_inputs
from slipway.samples.golden import GoldenSet


@dataclass(frozen=True)
class BatchDimension:
    """A model's batch: a dynamic one by its name (None for an unnamed one), or a fixed size."""

    name: str | None = None
    fixed: int | None = None

    @classmethod
    def of(cls, inputs: Sequence[TensorInfo]) -> "BatchDimension":
        """The first dynamic leading dimension; without one, the first leading size."""
        leading = [tensor.shape[0] for tensor in inputs if tensor.shape]
        dynamic = [size for size in leading if not isinstance(size, int)]
        if dynamic:
            return cls(name=dynamic[0])
        return cls(fixed=next((size for size in leading if isinstance(size, int)), 1))

    def sizes(self, asked: Sequence[int]) -> tuple[int, ...]:
        """The batch sizes to measure: those asked for, or the only one that the model takes."""
        return tuple(dict.fromkeys(asked)) if self.fixed is None else (self.fixed,)

    def leads(self, tensor: TensorInfo) -> bool:
        """Whether an input's first dimension is the batch; other inputs are left alone."""
        return bool(tensor.shape) and self.fixed is None and tensor.shape[0] == self.name


def largest_case(golden: GoldenSet) -> Arrays:
    """Inputs of the recorded case with the most elements."""
    return max(
        (case.inputs for case in golden.cases),
        key=lambda inputs: sum(array.size for array in inputs.values()),
    )


def settle_dimensions(
    inputs: Sequence[TensorInfo], sizes: Mapping[str, int]
) -> tuple[TensorInfo, ...]:
    """The inputs with sizes for their dynamic dimensions, so that data can be made up for them.

    The batch needs none. Any other has a size that decides the latency and that nobody can guess.

    Raises:
        DataError: naming the input, its dimensions, and what to give.
    """
    batch = BatchDimension.of(inputs)
    known = {size for tensor in inputs for size in tensor.shape if isinstance(size, str)}
    for name in sizes:
        if name not in known:
            named = ", ".join(sorted(known)) or "none"
            raise DataError(f"--dim {name}: no input has such a dimension; there are {named}")
    settled = []
    for tensor in inputs:
        shape: list[int | str | None] = []
        for axis, size in enumerate(tensor.shape):
            if isinstance(size, str) and size in sizes:
                shape.append(sizes[size])
            elif isinstance(size, int) or (size == batch.name and (size is not None or axis == 0)):
                shape.append(size)
            else:
                raise _unknown_size(tensor, size)
        settled.append(tensor.model_copy(update={"shape": tuple(shape)}))
    return tuple(settled)


def _unknown_size(tensor: TensorInfo, size: str | None) -> DataError:
    shape = ", ".join("?" if part is None else str(part) for part in tensor.shape)
    way = "" if size is None else f", or its size with --dim {size}=128 or the like"
    return DataError(
        f"input {tensor.name} has shape [{shape}], and nothing says how large "
        f"{size or 'its unnamed dimension'} is, on which the latency depends: give real inputs "
        f"with --golden FILE.npz{way}"
    )


def make_feeds(
    inputs: Sequence[TensorInfo], recorded: Arrays, *, batch: BatchDimension, size: int
) -> Mapping[str, Array]:
    """Arrays that a session takes, in its own dtypes, contiguous.

    Raises:
        DataError: naming the input that the golden set lacks or does not fit.
    """
    return {t.name: _feed(t, recorded, size if batch.leads(t) else None) for t in inputs}


def _feed(tensor: TensorInfo, recorded: Arrays, size: int | None) -> Array:
    if tensor.name not in recorded:
        raise DataError(
            f"the golden set has no input {tensor.name!r}; it has {', '.join(sorted(recorded))}"
        )
    array = np.asarray(recorded[tensor.name])
    if array.ndim == 0:
        return array
    samples = Samples({tensor.name: array})
    if size is not None:
        if not len(samples):
            raise DataError(f"the golden set's {tensor.name} holds no samples to repeat")
        samples = samples.repeat_to(size)
    return np.ascontiguousarray(fit_inputs([tensor], samples)[tensor.name])
