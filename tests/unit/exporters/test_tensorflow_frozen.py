"""A TensorFlow source looked into: its noise in float64, and the operator where a graph departs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[tensorflow]'",
    exc_type=ImportError,
)

from slipway.exporters import export, trace
from slipway.protocols import ExportRequest, TraceRequest
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.explain import ExplainRequest, explain
from slipway.validation.parity import check_parity
from tests.keras_cases import CASES, save, save_folder
from tests.models import tensorflow as saved_models

CONVNET = "Sequential of images as NCHW"


def in_scratch(folder: Path) -> Path:
    scratch = folder / "scratch"
    scratch.mkdir()
    return scratch


@pytest.mark.parametrize("name", [CONVNET, "LSTM"])
def test_a_keras_model_tells_its_noise(name: str, tmp_path: Path) -> None:
    made = export(save(CASES[name](), tmp_path), in_scratch(tmp_path))
    (noise,) = made.noise
    assert noise.float64 is not None
    assert 0 < noise.float64 < 1e-4
    assert noise.one_thread is None


def test_a_saved_model_tells_its_noise_for_outputs_of_floats(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "saved")
    asked = ExportRequest(source=SourceSpec(framework="tensorflow", uri=str(path)), path=path)
    made = export(asked, in_scratch(tmp_path))
    assert [noise.output for noise in made.noise] == ["scores"]
    assert made.noise[0].float64 is not None


def spoil(path: Path, change: Mapping[int, float]) -> None:
    """Scale the weights of so many dimensions, as a converter that is wrong would."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if len(tensor.dims) in change:
            scaled = numpy_helper.to_array(tensor) * np.float32(change[len(tensor.dims)])
            tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
    onnx.save(model, path)


def test_the_first_operator_that_the_graph_does_not_compute_is_named(tmp_path: Path) -> None:
    asked = save_folder(CASES["Sequential of images"](), tmp_path)
    scratch = in_scratch(tmp_path)
    made = export(asked, scratch)
    spoil(made.model, {2: 0.5})
    golden = GoldenSet.load(made.golden)
    assert not check_parity(made.model, golden, tolerance=Tolerance()).passed
    found = trace(TraceRequest(export=asked, route=made.route, golden=made.golden, case=1), scratch)
    told = explain(
        ExplainRequest(model=made.model, golden=made.golden, tolerance=Tolerance(), trace=found),
        scratch,
    )
    assert told.divergence is not None
    assert told.divergence.against == "source"
    assert "dense" in str(told.divergence.source_place)
    assert "(MatMul)" in str(told.divergence.source_place)
    assert told.divergence.agreeing >= 1
