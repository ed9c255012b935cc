"""What a TensorFlow source gives: arrays, and a size or a name for each dimension of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from slipway.errors import DataError, ExportFailed
from slipway.exporters.tensorflow_graphs import DTYPES, Interface, to_source_layout
from slipway.exporters.tensorflow_runtime import tf
from slipway.exporters.wording import first_lines
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array


def run_source(
    call: Callable[..., Sequence[Any]], feeds: Mapping[str, Array], interface: Interface
) -> list[Array]:
    """Call the source on one case, whose arrays are in the graph's layout.

    Raises:
        DataError: when the source does not run on it.
    """
    tensors = []
    for tensor in interface.inputs:
        array = feeds[tensor.name]
        if tensor.name in interface.nchw:
            array = np.transpose(array, to_source_layout(range(array.ndim)))
        tensors.append(tf.constant(array))
    try:
        return [_plain(value.numpy()) for value in call(*tensors)]
    except Exception as error:
        shapes = {name: list(array.shape) for name, array in feeds.items()}
        raise DataError(
            f"the source model does not run on golden inputs of shape {shapes}: "
            f"{first_lines(error)}; give data.golden with inputs that it takes"
        ) from error


def describe_outputs(
    names: Sequence[str],
    tensors: Sequence[Any],
    runs: Sequence[tuple[Mapping[str, Array], Sequence[Array]]],
    inputs: Sequence[TensorInfo],
) -> tuple[TensorInfo, ...]:
    """Outputs as TensorFlow describes them, with names for the dimensions that it leaves open.

    An open dimension is called as the input's that has the same size in every run.
    """
    described = []
    for index, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        dtype = tensor.dtype.name
        if dtype not in DTYPES:
            raise ExportFailed(
                f"output {name} is {dtype}, which no served output can have",
                facts={"kind": "dtype", "output": name, "dtype": dtype},
            )
        seen = [(feeds, answers[index].shape) for feeds, answers in runs]
        rank = len(seen[0][1])
        static = tensor.shape.as_list() if tensor.shape.rank is not None else [None] * rank
        shape = [
            int(size)
            if size is not None
            else _name_of(axis, [(feeds, sizes[axis]) for feeds, sizes in seen], inputs)
            or f"{name}_{axis}"
            for axis, size in enumerate(static)
        ]
        described.append(TensorInfo(name=name, dtype=DTYPES[dtype], shape=tuple(shape)))
    return tuple(described)


def _name_of(
    axis: int, seen: Sequence[tuple[Mapping[str, Array], int]], inputs: Sequence[TensorInfo]
) -> str | None:
    """The input dimension that explains an output's size in every run."""
    candidates = sorted(
        (
            (other != axis, size, tensor.name, other)
            for tensor in inputs
            for other, size in enumerate(tensor.shape)
            if isinstance(size, str)
        ),
    )
    for _, name, tensor, other in candidates:
        if all(feeds[tensor].shape[other] == size for feeds, size in seen):
            return name
    return None


def _plain(value: Any) -> Array:  # noqa: ANN401 - numpy's or a scalar
    """TensorFlow gives strings as bytes objects."""
    array: Array = np.asarray(value)
    if array.dtype.kind in "OS":
        texts = [v.decode() if isinstance(v, bytes) else str(v) for v in array.ravel()]
        return np.array(texts, dtype=np.str_).reshape(array.shape)
    return array
