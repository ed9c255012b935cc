"""A wrong export of a Keras model is held against what its layers compute."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[keras]'",
    exc_type=ImportError,
)

from slipway.exporters import export, trace
from slipway.protocols import ExportRequest, TraceRequest
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.explain import ExplainRequest, Explanation, explain
from slipway.validation.parity import check_parity
from tests import keras_models

import keras  # isort: skip - it reads which backend to use, which tensorflow_runtime sets


def explained(model: Any, folder: Path) -> tuple[bool, Explanation]:
    """Whether parity passes, and what the trace of the source says."""
    path = folder / "model.keras"
    keras_models.save(model, path)
    asked = ExportRequest(source=SourceSpec(framework="keras", uri=str(path)), path=path)
    scratch = folder / "scratch"
    scratch.mkdir()
    made = export(asked, scratch)
    parity = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    found = trace(TraceRequest(export=asked, route=made.route, golden=made.golden, case=1), scratch)
    request = ExplainRequest(
        model=made.model, golden=made.golden, tolerance=Tolerance(), trace=found
    )
    return parity.passed, explain(request, scratch)


def network(*layers: Any) -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def test_the_first_layer_that_the_graph_does_not_compute_is_named(tmp_path: Path) -> None:
    # tf2onnx 1.17 resizes by area as by the nearest pixel.
    layers = keras.layers
    model = network(
        layers.Conv2D(4, 3, activation="relu", name="look"),
        layers.BatchNormalization(name="calm"),
        layers.Resizing(5, 5, interpolation="area", name="shrink"),
        layers.Flatten(),
        layers.Dense(3, name="decide"),
    )
    passed, told = explained(model, tmp_path)
    assert not passed
    assert told.divergence is not None
    assert told.divergence.against == "source"
    assert "layer shrink (Resizing)" in str(told.divergence.source_place)
    assert told.divergence.agreeing >= 1
    assert told.diagnosis is None


def test_a_right_export_departs_nowhere(tmp_path: Path) -> None:
    layers = keras.layers
    model = network(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten())
    assert explained(model, tmp_path) == (True, Explanation())
