"""Static INT8 held to the budget: what is tried, in which order, and where it stops."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.precisions import convert, graphs
from slipway.protocols import ConvertRequest, ConvertResult, ValidateRequest
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, save_npz
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BudgetSpec, Int8StaticSpec, ParitySpec
from slipway.validation.validate import validate
from tests import tiny_models

DEEP = """
<ir_version: 10, opset_import: ["" : 18]>
deep (float[batch, 16] x) => (float[batch, 4] scores) {
    a = Gemm <transB = 1> (x, w1, b1)
    r = Relu (a)
    b = Gemm <transB = 1> (r, w2, b2)
    s = Relu (b)
    c = Gemm <transB = 1> (s, w3, b3)
    t = Relu (c)
    scores = Gemm <transB = 1> (t, w4, b4)
}
"""
SHAPES = {
    "w1": (32, 16), "b1": (32,), "w2": (32, 32), "b2": (32,), "w3": (32, 32), "b3": (32,),
    "w4": (4, 32), "b4": (4,),
}  # fmt: skip


def deep(*, loud: float = 1.0) -> onnx.ModelProto:
    """A network of four layers; one channel between the second and third is louder than the rest.

    What the third layer does with that channel is quieter by as much, so the outputs are the same;
    eight bits for all channels together leave nothing of the quiet ones.
    """
    model = tiny_models.with_weights(DEEP, SHAPES)
    for name, factor, index in (
        ("w2", loud, (0, ...)),
        ("b2", loud, 0),
        ("w3", 1 / loud, (..., 0)),
    ):
        values = tiny_models.weight(model, name)
        values[index] *= factor
        tiny_models.replace_weight(model, name, values)
    return model


def spread() -> onnx.ModelProto:
    """A network whose weights need a scale for each channel."""
    model = tiny_models.with_weights(DEEP, SHAPES)
    sizes = np.logspace(-3, 0, 32).astype(np.float32)
    for name, factors in (("w1", sizes[:, None]), ("b1", sizes), ("w2", 1 / sizes[None, :])):
        tiny_models.replace_weight(model, name, tiny_models.weight(model, name) * factors)
    return model


def rows(count: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)


def judged(model: onnx.ModelProto, folder: Path, **fields: object) -> ValidateRequest:
    """A request that judges by agreement with the model's own recorded outputs."""
    path = tiny_models.save(model, folder)
    inputs = {"x": rows(200, seed=1)}
    GoldenSet((GoldenCase(inputs, Session(path).run(inputs)),)).save(folder / "golden.npz")
    return ValidateRequest.model_validate(
        {
            "precision": "int8-static",
            "model": path,
            "golden": folder / "golden.npz",
            "parity": ParitySpec(int8_relative_error=0.05, label_agreement=0.9),
            "budget": BudgetSpec(),
            **fields,
        }
    )


def quantized(judge: ValidateRequest, folder: Path, **options: object) -> ConvertResult:
    save_npz(folder / "calibration.npz", {"x": rows(300, seed=2)})
    request = ConvertRequest(
        precision="int8-static",
        model=judge.model,
        options=Int8StaticSpec.model_validate({"method": "minmax", **options}),
        calibration=folder / "calibration.npz",
        judge=judge,
    )
    return convert(request, folder / "scratch")


def test_the_first_that_is_within_the_budget_is_kept(tmp_path: Path) -> None:
    result = quantized(judged(deep(), tmp_path), tmp_path)
    assert result.status == "passed", result.reason
    assert [attempt.label for attempt in result.attempts] == ["int8-static"]
    assert "float_nodes" not in result.settings


def test_scales_per_channel_come_before_nodes_in_float(tmp_path: Path) -> None:
    result = quantized(judged(spread(), tmp_path), tmp_path, per_channel=False)
    assert result.status == "passed", result.reason
    labels = [(attempt.label, attempt.passed) for attempt in result.attempts]
    assert labels[0] == ("int8-static per tensor", False)
    assert labels[1][0] == "int8-static"
    assert result.settings["per_channel"] is True


def test_where_int8_misses_the_nodes_that_spoil_it_stay_in_float(tmp_path: Path) -> None:
    judge = judged(deep(loud=300.0), tmp_path)
    result = quantized(judge, tmp_path)
    assert result.status == "passed", result.reason
    assert [a.label for a in result.attempts] == ["int8-static", "int8-mixed"]
    plain, mixed = result.attempts
    assert plain.relative_l2 is not None
    assert mixed.relative_l2 is not None
    assert plain.relative_l2 > 0.05 >= mixed.relative_l2
    # The loud channel is between the second and the third of four layers.
    assert len(mixed.float_nodes) == 2
    assert result.model is not None
    model = graphs.load_model(result.model)
    integers = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    assert {"w1_quantized", "w4_quantized"} <= integers
    assert not {"w2_quantized", "w3_quantized"} & integers


def test_what_is_kept_passes_validation_as_well(tmp_path: Path) -> None:
    judge = judged(deep(loud=300.0), tmp_path)
    result = quantized(judge, tmp_path)
    assert result.model is not None
    again = validate(judge.model_copy(update={"model": result.model}), tmp_path)
    assert again.passed, again.reason


def test_a_budget_that_nothing_meets_fails_with_the_nearest_candidate(tmp_path: Path) -> None:
    parity = ParitySpec(int8_relative_error=1e-7, label_agreement=1.0)
    result = quantized(judged(deep(), tmp_path, parity=parity), tmp_path)
    assert result.status == "failed"
    assert result.model is None
    assert "no static INT8 is within the budget" in (result.reason or "")
    assert "relative L2 error" in (result.reason or "")
    assert result.attempts


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_labels_are_judged_by_the_metrics_drop(drop: float, tmp_path: Path) -> None:
    model = deep(loud=50.0)
    for name in ("b1", "b2", "b3", "b4"):  # so that no label is given to nearly all rows
        tiny_models.replace_weight(model, name, np.zeros(SHAPES[name]))
    path = tiny_models.save(model, tmp_path)
    data = rows(400, seed=3)
    labels = Session(path).run({"x": data})["scores"].argmax(axis=1)
    save_npz(tmp_path / "evaluation.npz", {"x": data, "label": labels})
    judge = judged(
        model,
        tmp_path,
        metric="accuracy",
        evaluation=tmp_path / "evaluation.npz",
        baseline=1.0,
        budget=BudgetSpec(metric_drop=drop),
    )
    result = quantized(judge, tmp_path)
    first = result.attempts[0]
    assert first.drop is not None
    assert first.metric == pytest.approx(1 - first.drop)
    if drop:
        assert [a.label for a in result.attempts] == ["int8-static"]
    else:
        assert not first.passed
        assert all(a.drop == 0 for a in result.attempts if a.passed)
