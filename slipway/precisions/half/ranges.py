"""How large a model's values become on data: one pass in float32, before anything is converted."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import DataError
from slipway.precisions.half.constants import STAND_IN
from slipway.precisions.half.elements import FLOAT
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples
from slipway.samples.fitting import fit_inputs

BATCH: Final = 2


@dataclass(frozen=True)
class Extent:
    """The largest magnitude of a tensor, how many elements it had at most, and if all were finite.

    What stands for infinity in masks counts as not finite.
    """

    largest: float
    elements: int
    finite: bool = True


def measure(model: Path, names: Iterable[str], samples: Samples) -> dict[str, Extent]:
    """The extents of float values of the main graph; a file is written beside the model.

    What is infinite, or stands for it in masks, is not counted.

    Raises:
        DataError: when the samples do not fit the model's inputs.
        CheckFailed: when the model does not run on them.
    """
    proto = onnx.load(model, load_external_data=False)
    inputs, wanted = model_inputs(proto), set(names)
    outer = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    for node in proto.graph.node:
        for name in node.output:
            if name in wanted and name not in outer:
                value = onnx.helper.make_tensor_value_info(name, FLOAT, None)
                proto.graph.output.append(value)
    exposed = model.with_name("exposed.onnx")
    onnx.save_model(proto, exposed)
    session = Session(exposed, optimization="basic")
    extents: dict[str, Extent] = {}
    for feeds in batches(inputs, samples):
        for name, array in {**feeds, **session.run(feeds)}.items():
            if name in wanted:
                extents[name] = _widen(extents.get(name), array)
    return extents


def batches(inputs: tuple[TensorInfo, ...], samples: Samples) -> Iterator[Mapping[str, Array]]:
    """Feeds of a fixed batch size where the model has one.

    Raises:
        DataError: when samples are fewer than that.
    """
    fixed = [size for t in inputs for size in t.shape[:1] if isinstance(size, int)]
    size = max(fixed, default=BATCH)
    if fixed and len(samples) < size:
        raise DataError(
            f"the model takes batches of {size} and there are {len(samples)} calibration samples; "
            "give more, or export with a dynamic batch dimension"
        )
    for batch in samples.batches(size):
        if len(batch) == size or not fixed:
            yield fit_inputs(inputs, batch)


def _widen(known: Extent | None, array: Array) -> Extent:
    magnitude = np.abs(array)
    counted = magnitude[magnitude < STAND_IN]  # NaN compares as false
    largest = float(counted.max()) if counted.size else 0.0
    finite = counted.size == magnitude.size
    if known is None:
        return Extent(largest, array.size, finite)
    return Extent(
        max(known.largest, largest), max(known.elements, array.size), known.finite and finite
    )
