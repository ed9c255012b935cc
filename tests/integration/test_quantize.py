"""`slipway quantize` on a bare file: the ladder, the budget, and what is left on the disk."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from slipway.cli.app import app
from slipway.precisions import graphs
from slipway.providers.sessions import Session
from slipway.samples.arrays import save_npz
from tests import tiny_models
from tests.unit.precisions.test_budgeting import deep, rows


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_npz(tmp_path / "calibration.npz", {"x": rows(300, seed=2)})
    return tmp_path


def quantize(model: onnx.ModelProto, folder: Path, *options: str) -> Result:
    tiny_models.save(model, folder)
    given = ("model.onnx", "--calibration", "calibration.npz", "--out", "out.onnx", "--json")
    return CliRunner().invoke(app, ["quantize", *given, *options])


def test_the_noisy_nodes_stay_in_float_and_all_that_was_tried_is_told(folder: Path) -> None:
    result = quantize(deep(loud=300.0), folder, "--relative-error", "0.05")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["precision"] == "int8-static"
    assert len(report["settings"]["float_nodes"].split(", ")) == 2
    labels = [point["label"] for point in report["frontier"]["points"]]
    assert labels == ["fp32", "int8-static", "int8-mixed", "int8-dynamic", "fp16"]
    measured = {p["label"] for p in report["frontier"]["points"] if p["latency_ratio"]}
    assert {"fp32", "int8-mixed", "fp16"} <= measured
    made = Session(folder / "out.onnx").run({"x": rows(50, seed=5)})["scores"]
    wanted = Session(folder / "model.onnx").run({"x": rows(50, seed=5)})["scores"]
    assert np.linalg.norm(made - wanted) <= 0.06 * np.linalg.norm(wanted)


def test_a_budget_that_cannot_be_met_exits_with_1_and_leaves_no_model(folder: Path) -> None:
    result = quantize(deep(), folder, "--relative-error", "1e-6")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    assert {point["label"] for point in report["nearest"]} == {"int8-static", "int8-dynamic"}
    assert "allowed is 1e-06" in report["reason"]
    assert not (folder / "out.onnx").exists()


def test_labelled_data_judges_by_the_metric(folder: Path) -> None:
    model = deep()
    tiny_models.save(model, folder)
    data = rows(200, seed=3)
    labels = Session(folder / "model.onnx").run({"x": data})["scores"].argmax(axis=1)
    save_npz(folder / "evaluation.npz", {"x": data, "label": labels})
    judged = ("--evaluation", "evaluation.npz", "--metric", "accuracy", "--metric-drop", "0.05")
    result = quantize(model, folder, *judged, "--target", "gpu")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["frontier"]["measure"] == "accuracy"
    assert report["frontier"]["points"][0]["metric"] == 1.0
    if report["precision"] == "int8-static":
        types = {
            t.name: t.data_type for t in graphs.load_model(folder / "out.onnx").graph.initializer
        }
        assert types["x_zero_point"] == onnx.TensorProto.INT8


def test_a_metric_without_data_is_refused(folder: Path) -> None:
    result = quantize(deep(), folder, "--metric", "accuracy")
    assert result.exit_code == 2
    assert "needs --evaluation" in json.loads(result.stdout)["error"]["message"]
