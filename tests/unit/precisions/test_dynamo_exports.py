"""Models as torch's dynamo exporter writes them, whose value_info trips onnxruntime's quantizer."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from slipway.precisions import convert, graphs
from slipway.protocols import AnyPrecisionSpec, ConvertRequest
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, save_npz
from slipway.specs import Fp16Spec, Int8DynamicSpec, Int8StaticSpec, Precision

torch: Any = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

pytestmark = [
    pytest.mark.slow,
    # torch 2.13's exporter uses what torch itself has deprecated.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

VARIANTS: list[tuple[Precision, AnyPrecisionSpec, float]] = [
    ("fp16", Fp16Spec(), 0.01),
    ("int8-dynamic", Int8DynamicSpec(), 0.1),
    ("int8-static", Int8StaticSpec(), 0.1),
    ("int8-static", Int8StaticSpec(method="percentile"), 0.1),
]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 32),
        nn.ReLU(),
        nn.Linear(32, 10),
    ).eval()
    path = tmp_path_factory.mktemp("dynamo") / "model.onnx"
    with redirect_stdout(io.StringIO()):
        torch.onnx.export(
            model,
            (torch.zeros(2, 1, 8, 8),),
            path,
            dynamo=True,
            external_data=False,
            opset_version=18,
            input_names=["image"],
            output_names=["scores"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    return path


def images(count: int, seed: int) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    return {"image": random.standard_normal((count, 1, 8, 8)).astype(np.float32)}


def test_the_exporter_still_writes_what_trips_the_quantizer(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert {t.name for t in graph.initializer} & {v.name for v in graph.value_info}


@pytest.mark.parametrize(("precision", "options", "most"), VARIANTS)
def test_a_dynamo_export_converts(
    exported: Path, precision: Precision, options: AnyPrecisionSpec, most: float, tmp_path: Path
) -> None:
    calibration = tmp_path / "calibration.npz"
    save_npz(calibration, images(64, seed=1))
    request = ConvertRequest(
        precision=precision, model=exported, options=options, calibration=calibration
    )
    result = convert(request, tmp_path / "scratch")
    assert result.status == "passed", result.reason
    assert result.model is not None
    test = images(50, seed=2)
    expected = Session(exported).run(test)["scores"]
    actual = Session(result.model).run(test)["scores"]
    assert np.linalg.norm(actual - expected) < most * np.linalg.norm(expected)
    assert "stack_trace" not in str(graphs.load_model(result.model).graph.node)
