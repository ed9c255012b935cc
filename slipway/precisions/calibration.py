"""Activation ranges from data: `calibrate(model, samples, ...)` gives low and high by tensor.

Replaces onnxruntime's calibrators (1.31), which keep every activation of every sample in memory,
drop NaN silently, and call minmax "entropy". Here values are summed up while they stream by; what
is kept of them is in `statistics`, how a range is chosen in `thresholds`, and how work is saved and
shared between workers in `states`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.artifacts import Digest, digest_file
from slipway.errors import DataError
from slipway.precisions import graphs
from slipway.precisions.exposing import Runs
from slipway.precisions.histograms import Bits, Exact, Linear
from slipway.precisions.ranges import MeasuredRanges, Range
from slipway.precisions.states import Plan, State, check_data, check_same, digest_samples
from slipway.precisions.statistics import Extremes, Kind
from slipway.precisions.tails import Tails
from slipway.precisions.thresholds import (
    entropy_range,
    losses_of,
    mse_range,
    percentile_of_counts,
    percentile_of_tails,
)
from slipway.samples.arrays import Samples
from slipway.specs import CalibrationMethod, Optimization

Progress = Callable[[int, int, str], None]
"""Told how much is done, of how much, and what is being done."""

CALIBRATING: Final = "calibrating"
# A state is saved when the time since is this many times what saving took, so that it costs next
# to nothing however large it is.
SAVE_SHARE: Final = 50
SAVE_EVERY_S: Final = 0.2
# One data set that nobody has to know again.
_UNNAMED: Final = "sha256:" + "0" * 64
_KINDS: Final[Mapping[CalibrationMethod, Kind]] = {
    "minmax": "extremes",
    "percentile": "tails",
    "mse": "bits",
    "entropy": "linear",
}


def calibrate(
    model: Path,
    samples: Samples,
    *,
    method: CalibrationMethod,
    op_types: Sequence[str] = (),
    tensors: Sequence[str] = (),
    percentile: float = 99.999,
    optimization: Optimization = "all",
    state: Path | None = None,
    progress: Progress | None = None,
) -> MeasuredRanges:
    """Find the range of each of `tensors`, or of all that nodes of `op_types` read or write.

    At `extended`, minmax, percentile and entropy are onnxruntime's to the last bit; entropy then
    runs the samples twice, to know its bins. At `all`, convolutions run in a faster layout, whose
    results differ in the last bits, and entropy runs them once: its bins end at a power of two.

    Args:
        model: Has inferred types in its value_info; a file is written beside it.
        samples: All of them are used.
        method: How a range is found from a tensor's values.
        op_types: Operators whose float tensors are measured, where `tensors` are not given.
        tensors: What the quantizer will ask for.
        percentile: What `percentile` keeps, in percent.
        optimization: How far the model is optimised before it runs.
        state: A file that the work is saved to again and again, and resumed from.
        progress: Called before the first batch and after each.

    Returns:
        Ranges by tensor; they may be infinite or NaN where activations are: `audit` names those.

    Raises:
        DataError: when the samples do not fit the model's inputs, or the saved state is another's.
        CheckFailed: when the model does not run on them.
    """
    plan = plan_calibration(
        model,
        planned=len(samples),
        method=method,
        op_types=op_types,
        tensors=tensors,
        percentile=percentile,
        optimization=optimization,
    )
    data = digest_samples(samples) if state else _UNNAMED
    done = State.load(state) if state and state.exists() else State(plan)
    check_same(plan, replace(done.plan, limits={}, kind=plan.kind))
    if state:
        check_data(done, data)
    while True:
        done = collect(
            model, samples, done.plan, state=done, save=state, data=data, progress=progress
        )
        following = second_pass(done)
        if following is None:
            return choose_ranges(done)
        done = State(following)


def plan_calibration(
    model: Path,
    *,
    planned: int,
    method: CalibrationMethod,
    op_types: Sequence[str] = (),
    tensors: Sequence[str] = (),
    percentile: float = 99.999,
    optimization: Optimization = "all",
) -> Plan:
    """What to count; the same on every worker that counts a share of the `planned` samples."""
    graph = onnx.load(model, load_external_data=False).graph
    chosen = sorted(set(tensors) if tensors else _float_tensors(graph, op_types))
    exactly = method == "entropy" and optimization != "all"
    return Plan(
        model=_digest(model),
        method=method,
        percentile=percentile if method == "percentile" else 0.0,
        optimization=optimization,
        tensors=tuple(chosen),
        planned=planned,
        kind="extremes" if exactly else _KINDS[method],
    )


def collect(
    model: Path,
    samples: Samples,
    plan: Plan,
    *,
    start: int = 0,
    stop: int | None = None,
    state: State | None = None,
    save: Path | None = None,
    data: Digest | None = None,
    progress: Progress | None = None,
) -> State:
    """Count the samples from start to stop, those excepted that `state` has.

    Raises:
        DataError: when the samples do not fit the model's inputs.
        CheckFailed: when the model does not run on them.
    """
    end = len(samples) if stop is None else stop
    data = data or digest_samples(samples)
    state = state or State(plan)
    missing = state.missing(data, start=start, stop=end)
    runs = Runs.prepare(model, plan.tensors, plan.optimization) if missing else None
    saved, pause = time.monotonic(), SAVE_EVERY_S
    if progress:
        progress(state.samples, plan.planned, CALIBRATING)
    for span, values in runs.over(samples, missing) if runs else ():
        size = span[1] - span[0]
        for name in plan.tensors:
            array = values[name]
            state.statistic(name, array.size // size).add(array, size)
        del values, array  # before the next batch's are made
        state.count(data, span)
        samples.release()
        if progress:
            progress(state.samples, plan.planned, CALIBRATING)
        if save and time.monotonic() - saved > pause:
            started = time.monotonic()
            state.save(save)
            saved = time.monotonic()
            pause = max(SAVE_EVERY_S, SAVE_SHARE * (saved - started))
    if save:
        state.save(save)
    return state


def second_pass(state: State) -> Plan | None:
    """What must be counted again, now that the extremes are known; None where nothing must."""
    if state.plan.kind == "exact" or state.plan.method not in {"entropy", "percentile"}:
        return None
    if state.plan.kind != "extremes" and all(
        not isinstance(it, Tails) or percentile_of_tails(it, state.plan.percentile)
        for it in state.statistics.values()
        if _is_usable(it)
    ):
        return None
    limits = {name: _limits(it) for name, it in state.statistics.items()}
    return replace(state.plan, kind="exact", limits=limits)


def _limits(seen: Extremes) -> Range:
    """Where onnxruntime begins and ends its bins: of magnitudes for a percentile."""
    if not _is_usable(seen):
        return 0.0, 1.0
    farthest = max(abs(seen.low), abs(seen.high))
    return (seen.nearest if isinstance(seen, Tails) else -farthest), farthest


def choose_ranges(state: State) -> MeasuredRanges:
    """The ranges that the method takes from what was counted."""
    observed = {
        name: (it.low, it.high) if it.count else (0.0, 0.0) for name, it in state.statistics.items()
    }
    chosen = {
        name: _choose(it, state.plan) if _is_usable(it) else observed[name]
        for name, it in state.statistics.items()
    }
    losses = {
        name: losses_of(it, chosen[name])
        for name, it in state.statistics.items()
        if isinstance(it, Bits) and _is_usable(it)
    }
    return MeasuredRanges(chosen, observed, losses)


def _choose(statistic: Extremes, plan: Plan) -> Range:
    match statistic:
        case Bits():
            return mse_range(statistic)
        case Tails():
            found = percentile_of_tails(statistic, plan.percentile)
            if found is None:
                raise DataError(
                    f"{plan.percentile} % of the values need a second pass over the samples: plan "
                    "it with second_pass"
                )
            return found
        case Exact() if plan.method == "percentile":
            return percentile_of_counts(statistic, plan.percentile)
        case Exact() | Linear():
            return entropy_range(statistic)
    return statistic.low, statistic.high


def _is_usable(statistic: Extremes) -> bool:
    return statistic.count > 0 and bool(np.isfinite([statistic.low, statistic.high]).all())


def _float_tensors(
    graph: onnx.GraphProto, op_types: Sequence[str]
) -> dict[str, onnx.ValueInfoProto]:
    constant = {tensor.name for tensor in graph.initializer}
    known = {
        value.name: value
        for value in (*graph.value_info, *graph.output, *graph.input)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return {
        name: known[name]
        for node in graph.node
        if node.op_type in op_types
        for name in (*node.input, *node.output)
        if name in known and name not in constant
    }


def _digest(model: Path) -> Digest:
    """Of the file, and of its external data where it has some."""
    data = model.with_name(model.name + graphs.DATA_SUFFIX)
    if not data.exists():
        return digest_file(model)
    import hashlib

    both = f"{digest_file(model)} {digest_file(data)}"
    return f"sha256:{hashlib.sha256(both.encode()).hexdigest()}"
