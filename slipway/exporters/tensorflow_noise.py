"""How far a TensorFlow function is from itself in float64.

On one thread it is not run: TensorFlow sets its threads once for a process.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from slipway.errors import ExportFailed
from slipway.exporters.noise import measure_noise
from slipway.exporters.tensorflow_frozen import Frozen
from slipway.reports import OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet

_MOST_BYTES: Final = 100_000_000
"""In float64 a model takes twice its memory again, and several times its time."""


def tensorflow_noise(
    freeze: Callable[[], Frozen], names: Sequence[str], golden: GoldenSet
) -> tuple[OutputNoise, ...]:
    """The function's own noise; nothing for one that is too large or has no float64."""
    try:
        frozen = freeze()
        if frozen.graph.ByteSize() > _MOST_BYTES:
            return ()
        wide = frozen.in_float64()
    except ExportFailed:
        return ()

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(names, wide.run(feeds, wide.outputs), strict=True))

    return measure_noise(golden, float64=run)
