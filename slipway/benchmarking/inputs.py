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
