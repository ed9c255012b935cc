"""What a trace of any source is made of: its values in a file, and whether its answers hold.

A trace is taken only after parity failed; an export that is right costs nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slipway.errors import SlipwayError
from slipway.protocols import TraceRequest, TraceResult, TraceStep
from slipway.samples.arrays import Array, save_npz
from slipway.samples.golden import GoldenCase, GoldenSet

MOST_BYTES: Final = 2_000_000_000
"""Values beyond this are left out, the last first."""
_RTOL: Final = 1e-2
_ATOL: Final = 1e-4

Source = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def golden_case(request: TraceRequest) -> GoldenCase:
    """The case to trace."""
    return GoldenSet.load(request.golden).cases[request.case]


def finish_trace(
    request: TraceRequest,
    steps: Sequence[tuple[TraceStep, Array]],
    *,
    source: Source,
    scratch: Path,
    by_name: bool,
    training: Sequence[str] = (),
) -> TraceResult:
    """Write the values, and run the source again: twice the same, and without its neighbours."""
    case = golden_case(request)
    kept, total = [], 0
    for step, value in steps:
        total += value.nbytes
        if total > MOST_BYTES:
            break
        kept.append((step, value))
    values = scratch / "trace.npz"
    save_npz(values, {str(index): value for index, (_, value) in enumerate(kept)})
    return TraceResult(
        case=request.case,
        matched="names" if by_name else "values",
        steps=tuple(step for step, _ in kept),
        values=values,
        training=tuple(training),
        unstable=_differing(source(case.inputs), source(case.inputs)),
        batch_dependent=_batch_dependent(_largest(request), source),
    )


def _largest(request: TraceRequest) -> GoldenCase:
    cases = GoldenSet.load(request.golden).cases
    return max(cases, key=lambda case: sum(array.size for array in case.inputs.values()))


def _batch_dependent(case: GoldenCase, source: Source) -> str | None:
    """An output whose rows are others when half of the batch is given alone."""
    rows = {len(array) for array in case.inputs.values() if array.ndim}
    if len(rows) != 1 or (count := rows.pop()) < 2:  # noqa: PLR2004 - a row and a neighbour
        return None
    half = {name: array[: count // 2] for name, array in case.inputs.items()}
    whole = source(case.inputs)
    try:
        part = source(half)
    except SlipwayError:  # a batch size of its own
        return None
    shared = {name: array for name, array in whole.items() if array.ndim and len(array) == count}
    return _differing({name: array[: count // 2] for name, array in shared.items()}, part)


def _differing(first: Mapping[str, Array], second: Mapping[str, Array]) -> str | None:
    """An output that differs by far more than rounding does."""
    for name, array in first.items():
        other = second.get(name)
        if other is None or other.shape != array.shape or array.dtype.kind not in "fiub":
            continue
        if not np.allclose(array, other, rtol=_RTOL, atol=_ATOL, equal_nan=True):
            return name
    return None
