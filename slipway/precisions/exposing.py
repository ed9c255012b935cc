"""A model run with its inner tensors as outputs, batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import DataError
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array, Samples
from slipway.samples.fitting import check_fit, fit_inputs
from slipway.specs import Optimization

Interval = tuple[int, int]
"""Samples from the first to before the second."""

# A batch is as many samples as this holds the activations of: larger ones gain no time.
BATCH_BYTES: Final = 48 << 20
MOST_SAMPLES: Final = 256


@dataclass(frozen=True)
class Runs:
    """The model with the measured tensors as its outputs."""

    session: Session
    inputs: tuple[TensorInfo, ...]
    measured: tuple[str, ...]

    @classmethod
    def prepare(cls, model: Path, tensors: Sequence[str], optimization: Optimization) -> "Runs":
        """Load the model; a file is written beside it meanwhile, where its external data is found.

        Raises:
            DataError: when it has no such tensor.
            CheckFailed: when it does not load.
        """
        proto = onnx.load(model, load_external_data=False)
        inputs = model_inputs(proto)
        exposed = model.with_name("exposed.onnx")
        _expose(proto, tensors, exposed)
        del proto
        session = Session(exposed, optimization=optimization)
        exposed.unlink()
        return cls(session=session, inputs=inputs, measured=tuple(tensors))

    def over(
        self, samples: Samples, spans: Sequence[Interval]
    ) -> Iterator[tuple[Interval, Mapping[str, Array]]]:
        """The measured tensors by name, batch by batch, with the samples that they are of."""
        fixed = max(
            (t.shape[0] for t in self.inputs if t.shape and isinstance(t.shape[0], int)), default=0
        )
        check_fit(self.inputs, samples)
        size = fixed or 1
        if len(samples) < fixed:
            raise DataError(
                f"the model takes batches of {fixed} and there are {len(samples)} calibration "
                "samples; give more, or export with a dynamic batch dimension"
            )
        for start, stop in spans:
            at = start
            while at < stop and at + fixed <= stop:
                span = at, min(at + size, stop)
                values = self._run(fit_inputs(self.inputs, samples.rows(*span)))
                yield span, values
                at = span[1]
                if not fixed:
                    taken = sum(array.nbytes for array in values.values()) // (span[1] - span[0])
                    size = min(max(BATCH_BYTES // max(taken, 1), 1), MOST_SAMPLES)
                del values

    def _run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = self.session.run(feeds)
        return {name: feeds[name] if name in feeds else outputs[name] for name in self.measured}


def _expose(model: onnx.ModelProto, tensors: Sequence[str], path: Path) -> None:
    """Save beside the model, so that its external data is found, with tensors as outputs."""
    given = {value.name for value in model.graph.input}
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    absent = [name for name in tensors if name not in given | known.keys()]
    if absent:
        raise DataError(f"the model has no tensor {absent[0]!r} of known type to calibrate")
    inner = [
        onnx.ValueInfoProto.FromString(known[name].SerializeToString())
        for name in tensors
        if name not in given
    ]
    if inner:
        del model.graph.output[:]
        model.graph.output.extend(inner)
    onnx.save_model(model, path)
