"""INT8: what it refuses, what it skips, and that its failures are named."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from slipway.errors import DataError, SourceNotFound
from slipway.precisions import convert, graphs
from slipway.precisions.marking import WEIGHTED
from slipway.precisions.policy import BETWEEN, choose_op_types
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, save_npz
from slipway.specs import Int8DynamicSpec, Int8StaticSpec
from tests import tiny_models

MASKED_MLP = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 16] x, float[batch, 32] hidden) => (float[batch, 4] y)
<float lowest = {-3.4028234663852886e38}>
{
    h = Gemm <transB = 1> (x, weight1, bias1)
    penalty = Mul (hidden, lowest)
    masked = Add (h, penalty)
    a = Relu (masked)
    y = MatMul (a, weight2)
}
"""
OVERFLOWING = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 16] x) => (float[batch, 4] y) <float big = {1e30}> {
    h = Gemm <transB = 1> (x, weight1, bias1)
    a = Mul (h, big)
    b = Mul (a, a)
    y = MatMul (b, weight2)
}
"""


def rows(count: int, *shape: int, seed: int = 0) -> Array:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, *shape)).astype(np.float32)


def to_int8(
    model: onnx.ModelProto,
    folder: Path,
    data: dict[str, Array] | None,
    options: Int8StaticSpec | None = None,
) -> ConvertResult:
    calibration = None
    if data is not None:
        calibration = folder / "calibration.npz"
        save_npz(calibration, data)
    request = ConvertRequest(
        precision="int8-static",
        model=tiny_models.save(model, folder),
        options=options or Int8StaticSpec(),
        calibration=calibration,
    )
    return convert(request, folder / "scratch")


def to_dynamic(model: onnx.ModelProto, folder: Path) -> ConvertResult:
    request = ConvertRequest(
        precision="int8-dynamic",
        model=tiny_models.save(model, folder),
        options=Int8DynamicSpec(),
    )
    return convert(request, folder / "scratch")


def noise(a: Array, b: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def stored(path: Path) -> list[onnx.TensorProto]:
    return list(graphs.load_model(path).graph.initializer)


# Calibration data


def test_int8_static_without_calibration_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="needs calibration data"):
        to_int8(tiny_models.mlp(), tmp_path, None)


def test_an_empty_calibration_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no samples"):
        to_int8(tiny_models.mlp(), tmp_path, {"x": rows(0, 16)})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_calibration_data_that_is_not_finite_is_refused(bad: float, tmp_path: Path) -> None:
    data = rows(5, 16)
    data[2, 3] = bad
    with pytest.raises(DataError, match=r"x holds 1 .* first at \[2, 3\]"):
        to_int8(tiny_models.mlp(), tmp_path, {"x": data})


def test_a_misnamed_calibration_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no array named 'x'; there are y"):
        to_int8(tiny_models.mlp(), tmp_path, {"y": rows(5, 16)})


def test_calibration_data_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\[5, 15\], the model takes \[batch, 16\]"):
        to_int8(tiny_models.mlp(), tmp_path, {"x": rows(5, 15)})


def test_missing_calibration_data_is_named(tmp_path: Path) -> None:
    request = ConvertRequest(
        precision="int8-static",
        model=tiny_models.save(tiny_models.mlp(), tmp_path),
        options=Int8StaticSpec(),
        calibration=tmp_path / "absent.npz",
    )
    with pytest.raises(SourceNotFound, match=r"absent\.npz"):
        convert(request, tmp_path / "scratch")


def test_constant_calibration_data_is_warned_of(tmp_path: Path) -> None:
    result = to_int8(tiny_models.mlp(), tmp_path, {"x": np.zeros((5, 16), np.float32)})
    assert result.scales is not None
    assert ("calibration-constant", "x") in {(f.code, f.place) for f in result.scales.findings}


def test_other_arrays_in_the_calibration_file_are_left_alone(tmp_path: Path) -> None:
    data = {"x": rows(5, 16), "label": np.arange(5)}
    assert to_int8(tiny_models.mlp(), tmp_path, data).status == "passed"


def test_no_more_samples_are_used_than_asked_for_and_all_parts_are_covered(tmp_path: Path) -> None:
    data = rows(400, 16)
    data[200:] *= 10
    few = to_int8(tiny_models.mlp(), tmp_path, {"x": data}, Int8StaticSpec(samples=100))
    assert few.settings["samples"] == 100
    assert few.model is not None
    loud = {"x": data[200:]}
    expected = Session(tmp_path / "model.onnx").run(loud)["y"]
    assert noise(Session(few.model).run(loud)["y"], expected) < 0.15


def test_a_fixed_batch_is_calibrated_in_whole_batches(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    assert to_int8(model, tmp_path, {"x": rows(10, 16)}).status == "passed"
    (tmp_path / "few").mkdir()
    with pytest.raises(DataError, match="batches of 4 and there are 3"):
        to_int8(model, tmp_path / "few", {"x": rows(3, 16)})


# Garbage that would be silent


def test_a_mask_of_the_lowest_float_fails_by_tensor_name(tmp_path: Path) -> None:
    model = tiny_models.with_weights(
        MASKED_MLP, {k: tiny_models.MLP_WEIGHTS[k] for k in ("weight1", "bias1", "weight2")}
    )
    hidden = np.zeros((20, 32), np.float32)
    hidden[:, 5:] = 1
    result = to_int8(model, tmp_path, {"x": rows(20, 16), "hidden": hidden})
    assert result.status == "failed"
    assert result.model is None
    assert "penalty" in (result.reason or "")
    assert result.scales is not None
    assert not result.scales.passed


def test_overflowing_activations_fail_by_tensor_name(tmp_path: Path) -> None:
    model = tiny_models.with_weights(
        OVERFLOWING, {k: tiny_models.MLP_WEIGHTS[k] for k in ("weight1", "bias1", "weight2")}
    )
    result = to_int8(model, tmp_path, {"x": rows(20, 16)})
    assert result.status == "failed"
    assert "activation b reaches" in (result.reason or "")


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_infinite_weight_fails_by_tensor_name(bad: float, tmp_path: Path) -> None:
    model = tiny_models.mlp()
    values = tiny_models.weight(model, "weight2")
    values[0, 0] = bad
    tiny_models.replace_weight(model, "weight2", values)
    for result in (to_int8(model, tmp_path, {"x": rows(9, 16)}), to_dynamic(model, tmp_path)):
        assert result.status == "failed"
        assert "weight2" in (result.reason or "")


def test_an_attention_mask_does_no_harm_where_only_weighted_operators_are_quantized(
    tmp_path: Path,
) -> None:
    mask = np.ones((20, 6), np.float32)
    mask[:, 3:] = 0
    result = to_int8(tiny_models.attention(), tmp_path, {"x": rows(20, 6, 16), "mask": mask})
    assert result.status == "passed", result.reason
    assert result.settings["op_types"] == ", ".join(WEIGHTED)


# Choices


def test_a_cnn_is_quantized_between_its_convolutions_too() -> None:
    assert choose_op_types(tiny_models.cnn()) == WEIGHTED + BETWEEN
    assert choose_op_types(tiny_models.attention()) == WEIGHTED


def test_percentile_survives_an_outlier_that_ruins_minmax(tmp_path: Path) -> None:
    data = rows(2000, 16)
    data[7, 3] = 1e4
    test = {"x": rows(200, 16, seed=1)}
    errors = {}
    for method in ("minmax", "percentile"):
        folder = tmp_path / method
        folder.mkdir()
        options = Int8StaticSpec.model_validate(
            {"method": method, "percentile": 99.5, "samples": 2000}
        )
        result = to_int8(tiny_models.mlp(), folder, {"x": data}, options)
        assert result.model is not None
        expected = Session(folder / "model.onnx").run(test)["y"]
        errors[method] = noise(Session(result.model).run(test)["y"], expected)
    assert errors["minmax"] > 0.5
    assert errors["percentile"] < 0.15


def test_per_channel_scales_save_a_weight_whose_channels_differ(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    spread = np.logspace(-3, 0, 32)[:, np.newaxis]
    tiny_models.replace_weight(model, "weight1", tiny_models.weight(model, "weight1") * spread)
    tiny_models.replace_weight(model, "bias1", np.zeros(32))
    errors = {}
    for per_channel in (True, False):
        folder = tmp_path / str(per_channel)
        folder.mkdir()
        options = Int8StaticSpec(per_channel=per_channel)
        result = to_int8(model, folder, {"x": rows(100, 16)}, options)
        assert result.settings["per_channel"] is per_channel
        assert result.model is not None
        kept = {t.name: numpy_helper.to_array(t) for t in stored(result.model)}
        scale = kept["weight1_scale"].reshape(-1, 1)
        weights = kept["weight1_quantized"].astype(np.float32) * scale
        wanted = tiny_models.weight(model, "weight1")
        errors[per_channel] = max(map(noise, weights, wanted))
    assert errors[True] < 0.02
    assert errors[False] > 0.3


@pytest.mark.parametrize("large", [False, True])
def test_activations_are_unsigned_and_weights_signed(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large:
        monkeypatch.setattr(graphs, "LARGE_BYTES", 1000)
    result = to_int8(tiny_models.cnn(), tmp_path, {"image": rows(20, 1, 8, 8)})
    assert result.model is not None
    model = graphs.load_model(result.model)
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert types["conv2_weight_quantized"] == onnx.TensorProto.INT8
    assert types["image_zero_point"] == onnx.TensorProto.UINT8
    assert (result.model.parent / "model.onnx.data").exists() == large


# What does not apply


def test_a_model_without_weights_is_skipped_by_both(tmp_path: Path) -> None:
    model = parser.parse_model(tiny_models.RELU)
    for result in (to_int8(model, tmp_path, {"x": rows(5, 4)}), to_dynamic(model, tmp_path)):
        assert result.status == "skipped"
        assert "no" in (result.reason or "")


def test_trees_are_skipped_by_both(tmp_path: Path) -> None:
    model = parser.parse_model(tiny_models.TREES)
    for result in (to_int8(model, tmp_path, {"x": rows(5, 1)}), to_dynamic(model, tmp_path)):
        assert result.status == "skipped"


def test_dynamic_int8_never_touches_a_convolution(tmp_path: Path) -> None:
    result = to_dynamic(tiny_models.cnn(), tmp_path)
    assert result.model is not None
    found = graphs.operators(graphs.load_model(result.model))
    assert "Conv" in found
    assert "ConvInteger" not in found
    assert "MatMulInteger" in found


def test_dynamic_int8_of_products_of_activations_is_skipped(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[n, k] a, float[k, m] b) => (float[n, m] y) { y = MatMul (a, b) }"""
    result = to_dynamic(parser.parse_model(text), tmp_path)
    assert result.status == "skipped"
    assert "constant" in (result.reason or "")


def test_a_quantized_model_is_not_quantized_again(tmp_path: Path) -> None:
    once = to_int8(tiny_models.mlp(), tmp_path, {"x": rows(20, 16)})
    assert once.model is not None
    model = graphs.load_model(once.model)
    again = tmp_path / "again"
    again.mkdir()
    for result in (to_int8(model, again, {"x": rows(5, 16)}), to_dynamic(model, again)):
        assert result.status == "skipped"
        assert "already" in (result.reason or "")


def test_an_old_opset_is_raised_for_per_channel_scales(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    model.opset_import[0].version = 11
    result = to_int8(model, tmp_path, {"x": rows(20, 16)})
    assert result.status == "passed", result.reason


def test_nothing_is_left_behind_when_the_quantizer_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("inner trouble")

    monkeypatch.setattr("onnxruntime.quantization.shape_inference.quant_pre_process", failing)
    result = to_int8(tiny_models.mlp(), tmp_path, {"x": rows(20, 16)})
    assert result.status == "failed"
    assert "inner trouble" in (result.reason or "")
    assert list((tmp_path / "scratch").iterdir()) == []


ROW_BIAS = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 16] x) => (float[batch, 4] y) {
    h = MatMul (x, first)
    a = Add (h, row)
    r = Relu (a)
    y = MatMul (r, second)
}
"""


def test_a_bias_that_is_a_row_is_quantized_like_any_other(tmp_path: Path) -> None:
    # onnxruntime's own quantizer fails on it, and skl2onnx writes every network so.
    model = tiny_models.with_weights(
        ROW_BIAS, {"first": (16, 32), "row": (1, 32), "second": (32, 4)}
    )
    data = np.random.default_rng(0).standard_normal((64, 16)).astype(np.float32)
    save_npz(tmp_path / "calibration.npz", {"x": data})
    request = ConvertRequest(
        precision="int8-static",
        model=tiny_models.save(model, tmp_path),
        options=Int8StaticSpec(),
        calibration=tmp_path / "calibration.npz",
    )
    (tmp_path / "scratch").mkdir()
    made = convert(request, tmp_path / "scratch")
    assert made.model is not None, made.reason
    feeds = {"x": data}
    expected = Session(request.model).run(feeds)["y"]
    actual = Session(made.model).run(feeds)["y"]
    assert np.linalg.norm(actual - expected) < 0.05 * np.linalg.norm(expected)
