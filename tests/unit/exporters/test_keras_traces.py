"""A wrong export of a Keras model is held against what its layers compute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

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
from tests.models import keras as keras_models

import keras  # isort: skip - it reads which backend to use, which tensorflow_runtime sets


def explained(
    model: Any, folder: Path, *, spoil: Callable[[Path], None] | None = None
) -> tuple[bool, Explanation]:
    """Whether parity passes, and what the trace of the source says, of a graph that was spoilt."""
    path = folder / "model.keras"
    keras_models.save(model, path)
    asked = ExportRequest(source=SourceSpec(framework="keras", uri=str(path)), path=path)
    scratch = folder / "scratch"
    scratch.mkdir()
    made = export(asked, scratch)
    if spoil is not None:
        spoil(made.model)
    parity = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    found = trace(TraceRequest(export=asked, route=made.route, golden=made.golden, case=1), scratch)
    request = ExplainRequest(
        model=made.model, golden=made.golden, tolerance=Tolerance(), trace=found
    )
    return parity.passed, explain(request, scratch)


def network(*layers: Any) -> Any:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def halve_a_matrix(path: Path) -> None:
    """Halve the only matrix of weights, as a converter that scales a Dense layer wrongly would."""
    model = onnx.load(path)
    (matrix,) = (it for it in model.graph.initializer if len(it.dims) == 2)
    halved = (numpy_helper.to_array(matrix) / 2).astype(np.float32)
    matrix.CopyFrom(numpy_helper.from_array(halved, matrix.name))
    onnx.save(model, path)


def test_the_first_layer_that_the_graph_does_not_compute_is_named(tmp_path: Path) -> None:
    layers = keras.layers
    model = network(
        layers.Conv2D(4, 3, activation="relu", name="look"),
        layers.BatchNormalization(name="calm"),
        layers.Flatten(),
        layers.Dense(3, activation="softmax", name="decide"),
    )
    passed, told = explained(model, tmp_path, spoil=halve_a_matrix)
    assert not passed
    assert told.divergence is not None
    assert told.divergence.against == "source"
    assert "layer decide (Dense)" in str(told.divergence.source_place)
    assert told.divergence.agreeing >= 1


def test_a_right_export_departs_nowhere(tmp_path: Path) -> None:
    layers = keras.layers
    model = network(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten())
    assert explained(model, tmp_path) == (True, Explanation())
