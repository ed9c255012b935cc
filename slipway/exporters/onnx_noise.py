"""An ONNX source's own noise: its graph in float64, node by node, and its session on one thread."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import CheckFailed
from slipway.exporters.noise import Source, measure_noise
from slipway.exporters.onnx_files import load_weights, read_model
from slipway.providers.signature import model_outputs
from slipway.reports import OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet
from slipway.validation.diagnosis.stepping import float64_values

MOST_BYTES: Final = 20 << 20
"""Larger sources take too long in float64, which has no kernels but numpy's."""
SECONDS: Final = 2.0


def onnx_noise(
    source: Path, names: Sequence[str], golden: GoldenSet, *, one_thread: Callable[[], Source]
) -> tuple[OutputNoise, ...]:
    """The noise of every output; nothing for a source that is too large.

    Args:
        source: The model as it was given.
        names: What its outputs are called in the golden set, in its order.
        golden: What onnxruntime gave for it, on all threads.
        one_thread: Opens the same model in a session of one thread.
    """
    if sum(file.stat().st_size for file in source.parent.iterdir() if file.is_file()) > MOST_BYTES:
        return ()
    model = read_model(source)
    load_weights(model, source.parent)
    return measure_noise(golden, float64=_in_float64(model, names), one_thread=one_thread())


def _in_float64(model: onnx.ModelProto, names: Sequence[str]) -> Source:
    own = [tensor.name for tensor in model_outputs(model)]

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        values = float64_values(model, dict(feeds), {}, seconds=SECONDS)
        missing = [name for name in own if name not in values]
        if missing:
            raise CheckFailed(f"{missing[0]} cannot be computed in float64 here")
        return {name: values[key] for name, key in zip(names, own, strict=True)}

    return run
