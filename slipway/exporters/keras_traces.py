"""What a Keras model computes inside: each layer's output, in the order of the run.

tf2onnx names its tensors in its own way and turns layouts round, so that layers are found in the
graph by their values.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.exporters.keras import open_source
from slipway.exporters.tensorflow_outputs import run_source
from slipway.exporters.tensorflow_runtime import tf
from slipway.exporters.tracing import finish_trace, golden_case
from slipway.protocols import TraceRequest, TraceResult, TraceStep
from slipway.samples.arrays import Array

import keras  # isort: skip - it reads which backend to use, which tensorflow_runtime sets


def trace(request: TraceRequest, scratch: Path) -> TraceResult:
    """Trace a Keras source; see `slipway.protocols.Tracer`."""
    source, given = open_source(request.export)
    case = golden_case(request)

    def answers(feeds: Mapping[str, Array]) -> dict[str, Array]:
        return dict(zip(case.outputs, run_source(source.flat, feeds, given), strict=True))

    recorder = _Recorder(source.model)
    with recorder.watching():
        answers(case.inputs)
    return finish_trace(
        request, list(recorder.steps()), source=answers, scratch=scratch, by_name=False
    )


@dataclass
class _Recorder:
    """Keeps what every layer gives, and which layers' values it takes."""

    model: Any
    found: list[tuple[TraceStep, Any]] = field(default_factory=list)
    makers: dict[int, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Record all layers that are called meanwhile."""
        original = keras.layers.Layer.__call__

        def call(layer: Any, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
            result = original(layer, *arguments, **keywords)
            if layer is not self.model:
                self._keep(layer, (arguments, keywords), result)
            return result

        keras.layers.Layer.__call__ = call
        try:
            yield
        finally:
            keras.layers.Layer.__call__ = original

    def _keep(self, layer: Any, arguments: Any, result: Any) -> None:  # noqa: ANN401
        taken = {
            self.makers[id(leaf)]
            for leaf in keras.tree.flatten(arguments)
            if tf.is_tensor(leaf) and id(leaf) in self.makers
        }
        for leaf in keras.tree.flatten(result):
            if not tf.is_tensor(leaf):
                continue
            step = TraceStep(
                tensor=layer.name,
                place=f"layer {layer.path} ({type(layer).__name__})",
                makes_from=tuple(sorted(taken)),
            )
            # Kept as it is: a tensor that is gone gives its id to another.
            self.makers[id(leaf)] = len(self.found)
            self.found.append((step, leaf))

    def steps(self) -> Iterator[tuple[TraceStep, Array]]:
        """In the order in which the layers ended."""
        for step, value in self.found:
            yield step, value.numpy()
