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


GIVEN = ("model.onnx", "--calibration", "calibration.npz")


def quantize(model: onnx.ModelProto, folder: Path, *options: str) -> Result:
    tiny_models.save(model, folder)
    given = (*GIVEN, "--out", "out.onnx", "--json")
    return CliRunner().invoke(app, ["quantize", *given, *options])


def test_the_noisy_nodes_stay_in_float_and_all_that_was_tried_is_told(folder: Path) -> None:
    result = quantize(deep(loud=300.0), folder, "--relative-error", "0.05", "--report", "page.html")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["precision"] == "int8-static"
    assert len(report["settings"]["float_nodes"].split(", ")) == 2
    labels = [point["label"] for point in report["frontier"]["points"]]
    assert labels == [
        *("fp32", "int8-static", "int8-mixed", "int8-dynamic", "int4-weights", "fp16"),
        "fp32-optimized",
    ]
    measured = {p["label"] for p in report["frontier"]["points"] if p["latency_ratio"]}
    assert {"fp32", "int8-mixed", "fp16", "fp32-optimized"} <= measured
    assert "int8-mixed: relative L2 error" in (folder / "page.html").read_text(encoding="utf-8")
    made = Session(folder / "out.onnx").run({"x": rows(50, seed=5)})["scores"]
    wanted = Session(folder / "model.onnx").run({"x": rows(50, seed=5)})["scores"]
    assert np.linalg.norm(made - wanted) <= 0.06 * np.linalg.norm(wanted)


def test_a_budget_that_cannot_be_met_exits_with_1_and_leaves_no_model(folder: Path) -> None:
    result = quantize(deep(), folder, "--relative-error", "1e-6")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    quantized = {"int8-static", "int8-dynamic", "int4-weights"}
    assert {point["label"] for point in report["nearest"]} == quantized
    assert "allowed is 1e-06" in report["reason"]
    assert not (folder / "out.onnx").exists()


def test_labelled_data_judges_by_the_metric(folder: Path) -> None:
    model = deep()
    tiny_models.save(model, folder)
    data = rows(200, seed=3)
    labels = Session(folder / "model.onnx").run({"x": data})["scores"].argmax(axis=1)
    save_npz(folder / "evaluation.npz", {"x": data, "label": labels})
    judged = ("--evaluation", "evaluation.npz", "--metric", "accuracy", "--metric-drop", "0.05")
    tried = ("--precision", "int8-static", "--target", "gpu")
    result = quantize(model, folder, *judged, *tried)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["frontier"]["measure"] == "accuracy"
    assert report["frontier"]["points"][0]["metric"] == 1.0
    constants = graphs.load_model(folder / "out.onnx").graph.initializer
    types = {tensor.name: tensor.data_type for tensor in constants}
    assert types["x_zero_point"] == onnx.TensorProto.INT8


def test_a_metric_without_data_is_refused(folder: Path) -> None:
    result = quantize(deep(), folder, "--metric", "accuracy")
    assert result.exit_code == 2
    assert "needs --evaluation" in json.loads(result.stdout)["error"]["message"]


def test_four_bit_weights_need_no_calibration_data_but_something_to_judge_by(folder: Path) -> None:
    tiny_models.save(deep(), folder)
    only = ["quantize", "model.onnx", "--out", "out.onnx", "--precision", "int4-weights", "--json"]
    refused = CliRunner().invoke(app, only)
    assert refused.exit_code == 2
    assert "give --evaluation" in json.loads(refused.stdout)["error"]["message"]
    judged = ("--evaluation", "calibration.npz", "--relative-error", "0.3")
    options = ("--label-agreement", "0.5", "--set", "int4-weights.block_size=16")
    result = CliRunner().invoke(app, [*only, *judged, *options])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["precision"], report["settings"]["block_size"]) == ("int4-weights", 16)
    assert report["calibration"] is None
    assert "MatMulNBits" in graphs.operators(graphs.load_model(folder / "out.onnx"))


def test_an_optimized_graph_is_written_where_it_is_asked_for(folder: Path) -> None:
    result = quantize(deep(), folder, "--precision", "fp32-optimized")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["precision"] == "fp32-optimized"
    assert report["made_for"]["provider"] == "cpu"
    assert "FusedGemm" in graphs.operators(graphs.load_model(folder / "out.onnx"))


def test_what_does_not_apply_is_told_with_the_reason(folder: Path) -> None:
    wide = ("--precision", "int4-weights", "--set", "int4-weights.block_size=256")
    result = quantize(deep(), folder, *wide)
    assert result.exit_code == 1
    assert "of 256 rows or more" in json.loads(result.stdout)["error"]["message"]
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "int8-static.percentle=9"), "did you mean 'percentile'?"),
        (("--set", "int8-static.percentile=9"), "int8-static.percentile: "),
        (("--set", "percentile"), "write PRECISION.KEY=VALUE"),
        (("--relative-error", "0"), "--relative-error: Input should be greater than 0"),
        (("--metric-drop", "inf"), "--metric-drop: Input should be a finite number"),
        (("--state", "model.onnx"), "model.onnx is not an npz archive"),
        (("--state", "model.onnx/state.npz"), "choose another folder"),
        (("--precision", "fp16", "--set", "int4-weights.block_size=16"), "what is tried is fp16"),
    ],
)
def test_a_wrong_option_of_a_precision_is_named(
    folder: Path, options: tuple[str, ...], message: str
) -> None:
    result = quantize(deep(), folder, *options)
    assert result.exit_code == 2
    assert message in json.loads(result.stdout)["error"]["message"]


def test_calibration_data_scaled_in_another_way_than_the_evaluations_is_refused(
    folder: Path,
) -> None:
    save_npz(folder / "evaluation.npz", {"x": rows(50, seed=4) * 255})
    only = ("--precision", "int8-static", "--evaluation", "evaluation.npz")
    result = quantize(deep(), folder, *only)
    assert result.exit_code == 2
    assert "prepare both in the same way" in json.loads(result.stdout)["error"]["message"]


def test_shards_counted_apart_give_the_bytes_of_one_run(folder: Path) -> None:
    one = json.loads(quantize(deep(), folder, "--precision", "int8-static").stdout)
    (folder / "out.onnx").unlink()
    for number in (1, 2):
        shard = ("--state", f"{number}.npz", "--shard", f"{number}/2", "--json")
        counted = CliRunner().invoke(app, ["calibrate", *GIVEN, *shard])
        assert counted.exit_code == 0, counted.output
    assert json.loads(counted.stdout)["planned"] == 256
    shares = [word for number in (2, 1) for word in ("--merge", f"{number}.npz")]
    merged = json.loads(quantize(deep(), folder, "--precision", "int8-static", *shares).stdout)
    assert merged["calibration"] == {"samples": 256, "resumed": 256, "batches": 0}
    assert one["calibration"]["resumed"] == 0 < one["calibration"]["batches"]
    assert merged["digest"] == one["digest"]
