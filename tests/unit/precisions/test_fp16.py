"""fp16: right in true half arithmetic, with everything named that float16 cannot hold."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from slipway.precisions import convert, graphs
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array
from slipway.specs import Fp16Spec
from tests import tiny_models

BATCH_FIRST = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, seq, 4] x) => (float[seq, batch, 4] y, float[seq, batch, 4] z)
<float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}>
{
    r = Reshape (x, shape)
    t = Transpose <perm = [1, 0, 2]> (r)
    y = MatMul (t, w)
    u = Transpose <perm = [1, 0, 2]> (r)
    v = MatMul (u, w)
    z = Add (u, v)
}
"""


def to_fp16(model: onnx.ModelProto, folder: Path, *, keep_io: bool = True) -> ConvertResult:
    source = folder / "in.onnx"
    onnx.save_model(model, source)
    request = ConvertRequest(
        precision="fp16", model=source, options=Fp16Spec(keep_io_types=keep_io)
    )
    return convert(request, folder / "scratch")


def evaluate(model: onnx.ModelProto, feeds: dict[str, Array]) -> Array:
    """The first output in the arithmetic that the model states, float16 included."""
    values = ReferenceEvaluator(model).run(None, feeds)
    assert isinstance(values, list)
    return np.asarray(values[0])


@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_half_arithmetic_itself_agrees_and_not_only_the_cpu_providers(
    name: str, tmp_path: Path
) -> None:
    model = getattr(tiny_models, name)()
    result = to_fp16(model, tmp_path)
    assert result.model is not None
    shape = {"cnn": (2, 1, 8, 8), "mlp": (2, 16)}[name]
    feed = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    feeds = {model.graph.input[0].name: feed}
    expected = evaluate(model, feeds)
    actual = evaluate(onnx.load(result.model), feeds)
    np.testing.assert_allclose(actual, expected, rtol=2e-2, atol=2e-2)


def test_weights_are_halved_in_size(tmp_path: Path) -> None:
    result = to_fp16(tiny_models.mlp(), tmp_path)
    assert result.model is not None
    types = {t.data_type for t in graphs.load_model(result.model).graph.initializer}
    assert types == {onnx.TensorProto.FLOAT16}


def test_a_weight_beyond_float16_keeps_its_node_in_float32_by_name(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    values = tiny_models.weight(model, "weight2")
    values[3, 1] = 70000.0
    tiny_models.replace_weight(model, "weight2", values)
    result = to_fp16(model, tmp_path)
    assert result.status == "passed"
    assert result.model is not None
    (finding,) = (f for f in result.findings if f.code == "fp16-constant")
    assert "weight2 reaches 70000" in finding.message
    kept = {t.name: t.data_type for t in onnx.load(result.model).graph.initializer}
    assert kept["weight2"] == onnx.TensorProto.FLOAT
    assert kept["weight1"] == onnx.TensorProto.FLOAT16


def test_a_nan_weight_fails_by_name(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    tiny_models.replace_weight(model, "bias1", np.full(32, np.nan))
    result = to_fp16(model, tmp_path)
    assert result.status == "failed"
    assert "bias1 holds NaN" in (result.reason or "")


def test_a_mask_of_the_lowest_float_is_no_reason_to_fail(tmp_path: Path) -> None:
    result = to_fp16(tiny_models.attention(), tmp_path)
    assert result.status == "passed"
    assert result.model is not None
    feeds = {
        "x": np.random.default_rng(0).standard_normal((1, 6, 16)).astype(np.float32),
        "mask": np.array([[1, 1, 1, 1, 0, 0]], np.float32),
    }
    half = evaluate(onnx.load(result.model), feeds)
    assert np.isfinite(half).all()


def test_weights_too_small_for_float16_are_counted_and_named(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    values = tiny_models.weight(model, "weight2")
    values[0, :3] = 1e-9
    tiny_models.replace_weight(model, "weight2", values)
    result = to_fp16(model, tmp_path)
    assert result.settings["flushed_weights"] == 3
    (finding,) = (f for f in result.findings if f.code == "fp16-flushed")
    assert "weight2 (3)" in finding.message


def test_one_operator_between_two_casts_is_no_gain(tmp_path: Path) -> None:
    result = to_fp16(parser.parse_model(tiny_models.RELU), tmp_path)
    assert result.status == "skipped"
    assert "casts" in (result.reason or "")


def test_tree_ensembles_are_skipped_by_name(tmp_path: Path) -> None:
    result = to_fp16(parser.parse_model(tiny_models.TREES), tmp_path)
    assert result.status == "skipped"
    assert "TreeEnsembleRegressor" in (result.reason or "")


def test_a_model_without_floats_is_skipped(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (int64[n] x) => (int64[n] y) { y = Neg (x) }"""
    assert to_fp16(parser.parse_model(text), tmp_path).status == "skipped"


def test_a_large_model_is_converted_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGE_BYTES", 1000)
    result = to_fp16(tiny_models.mlp(), tmp_path)
    assert result.model is not None
    assert sorted(p.name for p in result.model.parent.iterdir()) == [
        "model.onnx",
        "model.onnx.data",
    ]
    small = numpy_helper.to_array
    loaded = graphs.load_model(result.model)
    expected = tiny_models.weight(tiny_models.mlp(), "weight1")
    actual = next(t for t in loaded.graph.initializer if t.name == "weight1")
    np.testing.assert_array_equal(small(actual), expected.astype(np.float16))


def test_a_transposed_batch_does_not_crash_the_runtime(tmp_path: Path) -> None:
    model = parser.parse_model(BATCH_FIRST)
    shape = np.array([0, 0, 4], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(shape, "shape"))
    source = tiny_models.save(model, tmp_path)
    result = to_fp16(model, tmp_path)
    assert result.status == "passed", result.reason
    assert result.model is not None
    feeds = {"x": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8}
    expected, actual = Session(source).run(feeds), Session(result.model).run(feeds)
    for name, values in expected.items():
        np.testing.assert_allclose(actual[name], values, rtol=1e-2)
    operators = [node.op_type for node in graphs.load_model(result.model).graph.node]
    assert operators.count("Transpose") == 3
