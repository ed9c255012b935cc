"""How far a source model is from itself: in float64 against float32, on one thread against many.

A tolerance below that noise asks an exported model to be nearer to the source than the source is.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from slipway.errors import SlipwayError
from slipway.reports import OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.comparing import measure, merge_all

SECONDS: Final = 0.5
"""Golden cases beyond this are left out: a large model is judged by its smallest batches."""

Source = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def measure_noise(
    golden: GoldenSet, *, float64: Source | None = None, one_thread: Source | None = None
) -> tuple[OutputNoise, ...]:
    """What each output needs as a tolerance to agree with the source run in another way.

    Args:
        golden: What the source gave, in float32 and on many threads.
        float64: The source in float64, given float64 inputs.
        one_thread: The source on one thread.

    Returns:
        One entry for each output of numbers; a way that the source does not run is None there.
    """
    wide = _answers(golden, float64, np.float64) if float64 else []
    single = _answers(golden, one_thread, None) if one_thread else []
    return tuple(
        OutputNoise(
            output=name,
            float64=_needed(name, golden.cases, wide),
            one_thread=_needed(name, golden.cases, single),
        )
        for name, array in golden.cases[0].outputs.items()
        if array.dtype.kind == "f" and (wide or single)
    )


def _answers(
    golden: GoldenSet, source: Source, dtype: type[np.float64] | None
) -> list[Mapping[str, Array]]:
    """What the source gives for the first cases; nothing where it does not run so."""
    answers = []
    deadline = time.monotonic() + SECONDS
    for case in golden.cases:
        feeds = {
            name: array.astype(dtype) if dtype and array.dtype == np.float32 else array
            for name, array in case.inputs.items()
        }
        try:
            answers.append(source(feeds))
        except SlipwayError:  # a source that computes in one type alone
            return []
        if time.monotonic() > deadline:
            break
    return answers


def _needed(
    name: str, cases: Sequence[GoldenCase], answers: Sequence[Mapping[str, Array]]
) -> float | None:
    """The smallest rtol, with a tenth of it as atol, at which both agree."""
    if not answers:
        return None
    found = merge_all(
        [
            measure(answer[name], case.outputs[name], tolerance=Tolerance())
            for case, answer in zip(cases, answers, strict=False)
        ]
    )
    # Two digits: what is beyond them differs from processor to processor.
    return None if found.fault else float(f"{found.smallest_t:.1e}")
