"""Activation ranges from data: `calibrate(model, samples, ...)` gives low and high by tensor.

Replaces onnxruntime's calibrators, which keep every activation of every sample in memory, drop
NaN silently, and call minmax "entropy" (1.31). The quantizer only sees the ranges.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.errors import DataError
from slipway.precisions.audit import Ranges
from slipway.precisions.histograms import entropy_ranges, percentile_ranges
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs
from slipway.reports import Finding, TensorInfo
from slipway.samples.arrays import Array, Samples, check_finite
from slipway.samples.fitting import fit_inputs
from slipway.specs import CalibrationMethod

# Memory is this many samples' activations; larger batches gain no time on CNNs.
BATCH: Final = 4


def calibrate(
    model: Path,
    samples: Samples,
    *,
    method: CalibrationMethod,
    op_types: Sequence[str],
    percentile: float = 99.999,
) -> Ranges:
    """Find the range of every float tensor that a node of `op_types` reads or writes.

    `model` has inferred types in its value_info; a file is written beside it. Ranges may be
    infinite or NaN where activations are: `audit.audit_ranges` names those.

    Raises:
        DataError: when the samples do not fit the model's inputs.
        CheckFailed: when the model does not run on them.
    """
    runs = _Runs.prepare(model, samples, op_types=op_types)
    extremes = _extremes(runs)
    if method == "percentile":
        return percentile_ranges(runs.values, extremes, percentile=percentile)
    if method == "entropy":
        return entropy_ranges(runs.values, extremes)
    return extremes


def choose_samples(model: onnx.ModelProto, samples: Samples, *, count: int) -> Samples:
    """At most `count` of the samples, evenly spaced, so that sorted data is still covered.

    Raises:
        DataError: when an input has no array, when there are none, or when some are not finite.
    """
    chosen = samples.select([tensor.name for tensor in model_inputs(model)])
    if not len(chosen):
        raise DataError("the calibration data holds no samples; give it at least one")
    check_finite(chosen, what="calibration data")
    if len(chosen) > count:
        index = np.linspace(0, len(chosen) - 1, count).round().astype(int)
        chosen = Samples({name: array[index] for name, array in chosen.arrays.items()})
    return chosen


def audit_data(samples: Samples) -> tuple[Finding, ...]:
    """Warn of inputs that never change: ranges found from them fit nothing else."""
    return tuple(
        Finding(
            level="warning",
            code="calibration-constant",
            message=f"calibration data: {name} is {array.flat[0]} in all samples; ranges found "
            "from it will not fit other data",
            place=name,
        )
        for name, array in samples.arrays.items()
        if array.size and array.dtype.kind in "fiu" and bool((array == array.flat[0]).all())
    )


@dataclass(frozen=True)
class _Runs:
    """The model with its inner tensors as outputs, and the batches to run it on."""

    session: Session
    batches: tuple[Mapping[str, Array], ...]
    measured: tuple[str, ...]

    @classmethod
    def prepare(cls, model: Path, samples: Samples, *, op_types: Sequence[str]) -> "_Runs":
        proto = onnx.load(model, load_external_data=False)
        inputs = model_inputs(proto)
        tensors = _float_tensors(proto.graph, op_types)
        exposed = model.with_name("exposed.onnx")
        _expose(proto, tensors, exposed)
        return cls(
            session=Session(exposed, optimization="extended"),
            batches=tuple(_batches(inputs, samples)),
            measured=tuple(tensors),
        )

    def values(self) -> Iterator[Mapping[str, Array]]:
        """One pass over the data: the measured tensors by name, batch by batch."""
        for feeds in self.batches:
            outputs = self.session.run(feeds)
            yield {name: feeds[name] if name in feeds else outputs[name] for name in self.measured}


def _extremes(runs: _Runs) -> Ranges:
    """Smallest and largest value of each tensor; (0, 0) for one that is always empty."""
    found: dict[str, tuple[float, float]] = {}
    for values in runs.values():
        for name, array in values.items():
            if array.size:
                # np.minimum lets NaN through, where min() would depend on the order.
                low, high = found.get(name, (np.inf, -np.inf))
                found[name] = (
                    float(np.minimum(low, array.min())),
                    float(np.maximum(high, array.max())),
                )
    return {name: found.get(name, (0.0, 0.0)) for name in runs.measured}


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


def _expose(model: onnx.ModelProto, tensors: Mapping[str, onnx.ValueInfoProto], path: Path) -> None:
    """Save beside the model, so that its external data is found, with tensors as outputs."""
    given = {value.name for value in model.graph.input}
    inner = [value for name, value in tensors.items() if name not in given]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    if inner:
        del exposed.graph.output[:]
        exposed.graph.output.extend(inner)
    onnx.save_model(exposed, path)


def _batches(inputs: Sequence[TensorInfo], samples: Samples) -> Iterator[Mapping[str, Array]]:
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
