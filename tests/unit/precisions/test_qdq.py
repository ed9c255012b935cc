"""Our quantizer's models against onnxruntime's, given the same ranges: equal to the last bit."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from slipway.errors import PrecisionFailed
from slipway.precisions import graphs
from slipway.precisions.audit import Ranges
from slipway.precisions.calibration import calibrate
from slipway.precisions.marking import (
    WEIGHTED,
    Scheme,
    activations_to_measure,
    plan_quantization,
)
from slipway.precisions.policy import BETWEEN
from slipway.precisions.preprocess import preprocess
from slipway.precisions.qdq import quantize_file
from slipway.precisions.scales import (
    activation_quantization,
    dequantize,
    quantize,
    weight_quantization,
)
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, Samples
from slipway.specs import CalibrationMethod
from tests import tiny_models

EVERYTHING = """
<ir_version: 10, opset_import: ["" : 18]>
everything (float[batch, 4, 8, 8] x) => (float[batch, 5] y, float[batch, 8, 4, 4] inner)
<float six = {6.0}, float zero = {0.0}, float pad = {0.5}, int64[8] pads = {0,0,1,1,0,0,1,1},
 int64[2] flat = {-1, 200}, int64[2] halves = {4, 4}, float[4] zoom = {1.0, 1.0, 2.0, 2.0}>
{
    c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Clip (c1, zero, six)
    c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 4> (x, w2, b2)
    leaky = LeakyRelu <alpha = 0.1> (c2)
    both = Concat <axis = 1> (r1, leaky)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (both)
    left, right = Split <axis = 1> (p, halves)
    swapped = Concat <axis = 1> (right, left)
    inner = Add (p, swapped)
    shifted = Mul (inner, gain)
    bigger = Resize <mode = "nearest"> (shifted, , zoom)
    up = ConvTranspose <kernel_shape = [2, 2], strides = [1, 1]> (bigger, w3, b3)
    small = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (up)
    turned = Transpose <perm = [0, 1, 3, 2]> (small)
    padded = Pad <mode = "constant"> (turned, pads, zero)
    other = Pad <mode = "constant"> (padded, pads, pad)
    g = GlobalAveragePool (other)
    f = Flatten (g)
    m = MatMul (f, w4)
    a = Add (m, b4)
    act = Relu (a)
    act2 = Relu (act)
    y = Gemm <transB = 0> (act2, w5, b5)
}
"""
EVERYTHING_WEIGHTS = {
    "w1": (4, 4, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "b2": (4,), "gain": (8, 1, 1),
    "w3": (8, 6, 2, 2), "b3": (6,), "w4": (6, 12), "b4": (12,), "w5": (12, 5), "b5": (5,),
}  # fmt: skip
RESIDUAL = """
<ir_version: 10, opset_import: ["" : 18]>
residual (float[batch, 8] x) => (float[batch, 8] y) {
    h = Gemm <transB = 1> (x, w1, shared)
    r = Relu (h)
    s = Gemm <transB = 1> (r, w1, shared)
    t = Add (s, x)
    y = Relu (t)
}
"""
CAPTURING = """
<ir_version: 10, opset_import: ["" : 18]>
g (bool c, float[n, 16] x) => (float[n, 4] y) {
    h = Gemm <transB = 1> (x, weight1, bias1)
    a = Relu (h)
    m = MatMul (a, weight2)
    y = If (c) <
        then_branch = t () => (float[n, 4] p) { p = Identity (m) },
        else_branch = e () => (float[n, 4] q) { q = MatMul (h, weight2) }
    >
}
"""
OP_TYPES = (*WEIGHTED, *BETWEEN, "Split")


def prepared(model: onnx.ModelProto, folder: Path) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    return preprocess(model, folder)


def measured_ranges(path: Path, feeds: dict[str, Array]) -> dict[str, tuple[float, float]]:
    """Range of every float tensor, found by running the model with all of them as outputs."""
    model = onnx.load(path)
    floats = [v for v in model.graph.value_info if v.type.tensor_type.elem_type == 1]
    have = {v.name for v in model.graph.output} | {t.name for t in model.graph.initializer}
    model.graph.output.extend(v for v in floats if v.name not in have)
    onnx.save(model, path.with_name("exposed.onnx"))
    found = Session(path.with_name("exposed.onnx"), optimization="extended").run(feeds)
    arrays = {**found, **feeds}
    return {name: (float(a.min()), float(a.max())) for name, a in arrays.items() if a.ndim}


def by_onnxruntime(path: Path, ranges: Ranges, scheme: Scheme, *, folder: Path) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData, save_tensors_data

    cache, out = folder / "ranges.json", folder / "theirs.onnx"
    bounds = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, bounds), cache)
    symmetric = scheme.activation == "int8"
    quantize_static(
        str(path),
        str(out),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(scheme.op_types),
        per_channel=scheme.per_channel,
        reduce_range=scheme.reduce_range,
        nodes_to_exclude=sorted(scheme.float_nodes),
        activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibration_cache_path=cache,
        extra_options={"ActivationSymmetric": symmetric},
    )
    return onnx.load(out)


def constants(model: onnx.ModelProto, ending: str) -> dict[str, Array]:
    return {
        t.name: numpy_helper.to_array(t).reshape(-1)
        for t in model.graph.initializer
        if t.name.endswith(ending)
    }


def runs_like(model: onnx.ModelProto, other: onnx.ModelProto, feeds: dict[str, Array]) -> bool:
    answers = []
    for each in (model, other):
        session = _in_memory(each)
        answers.append(session.run(None, feeds))
    return all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def _in_memory(model: onnx.ModelProto):  # type: ignore[no-untyped-def]  # noqa: ANN202 - onnxruntime has no types
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options)


SCHEMES = {
    "per-channel": Scheme(OP_TYPES),
    "per-tensor": Scheme(OP_TYPES, per_channel=False),
    "weighted": Scheme(WEIGHTED),
    "symmetric": Scheme(OP_TYPES, activation="int8"),
    "reduced": Scheme(OP_TYPES, reduce_range=True),
}


def image(shape: tuple[int, ...], seed: int = 3) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def models() -> dict[str, tuple[onnx.ModelProto, dict[str, Array]]]:
    return {
        "cnn": (tiny_models.cnn(), {"image": image((6, 1, 8, 8))}),
        "mlp": (tiny_models.mlp(), {"x": image((9, 16))}),
        "attention": (
            tiny_models.attention(),
            {"x": image((3, 5, 16)), "mask": np.ones((3, 5), np.float32)},
        ),
        "everything": (
            tiny_models.with_weights(EVERYTHING, EVERYTHING_WEIGHTS),
            {"x": image((5, 4, 8, 8))},
        ),
        "residual": (
            tiny_models.with_weights(RESIDUAL, {"w1": (8, 8), "shared": (8,)}),
            {"x": image((7, 8))},
        ),
    }


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("name", models())
def test_a_quantized_model_is_onnxruntimes_own_to_the_last_bit(
    name: str, scheme: str, tmp_path: Path
) -> None:
    model, feeds = models()[name]
    if name == "attention" and scheme != "weighted":
        pytest.skip("masks are never quantized")
    path = prepared(model, tmp_path)
    ranges = measured_ranges(path, feeds)
    ours = quantize_file(path, ranges, SCHEMES[scheme])
    theirs = by_onnxruntime(path, ranges, SCHEMES[scheme], folder=tmp_path)
    graphs.tidy(ours)
    onnx.checker.check_model(ours, full_check=True)
    for ending in ("_scale", "_zero_point", "_quantized"):
        mine, wanted = constants(ours, ending), constants(theirs, ending)
        assert mine.keys() == wanted.keys()
        for tensor, values in wanted.items():
            np.testing.assert_array_equal(mine[tensor], values, err_msg=tensor)
    assert runs_like(ours, theirs, feeds)


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_at_full_optimization_scales_and_zero_points_are_onnxruntimes_up_to_rounding(
    method: CalibrationMethod, tmp_path: Path
) -> None:
    """From the samples on: theirs calibrated and quantized by `quantize_static` alone."""
    path = prepared(tiny_models.cnn(), tmp_path)
    samples = Samples({"image": image((24, 1, 8, 8))})
    scheme = Scheme(OP_TYPES)
    ranges = calibrate(
        path,
        samples,
        method=method,
        tensors=activations_to_measure(path, scheme),
        optimization="all",
    )
    ours = quantize_file(path, ranges, scheme)
    theirs = calibrated_by_onnxruntime(path, samples, scheme, method, folder=tmp_path)
    scales, wanted = constants(ours, "_scale"), constants(theirs, "_scale")
    assert scales.keys() == wanted.keys()
    assert len(wanted) > 10
    for name, values in wanted.items():
        np.testing.assert_allclose(scales[name], values, rtol=1e-6, err_msg=name)
    zeros = constants(ours, "_zero_point")
    for name, values in constants(theirs, "_zero_point").items():
        assert np.abs(zeros[name].astype(int) - values.astype(int)).max() <= 1, name


def calibrated_by_onnxruntime(
    path: Path, samples: Samples, scheme: Scheme, method: str, *, folder: Path
) -> onnx.ModelProto:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.batches = samples.batches(1)

        def get_next(self) -> object:
            batch = next(self.batches, None)
            return None if batch is None else dict(batch.arrays)

    out = folder / "calibrated.onnx"
    quantize_static(
        str(path),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(scheme.op_types),
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[{"minmax": "MinMax"}.get(method, "Percentile")],
    )
    return onnx.load(out)


def test_nodes_kept_in_float_are_those_that_onnxruntime_leaves_out(tmp_path: Path) -> None:
    model, feeds = models()["everything"]
    path = prepared(model, tmp_path)
    ranges = measured_ranges(path, feeds)
    names = {node.op_type: node.name for node in onnx.load(path).graph.node}
    kept = frozenset({names["Conv"], names["Add"], names["Gemm"], names["MaxPool"]})
    scheme = Scheme(OP_TYPES, float_nodes=kept)
    ours = quantize_file(path, ranges, scheme)
    assert runs_like(ours, by_onnxruntime(path, ranges, scheme, folder=tmp_path), feeds)
    quantized = {n.input[0] for n in ours.graph.node if n.op_type == "DequantizeLinear"}
    assert "w5_quantized" not in quantized
    assert "w4_quantized" in quantized


def test_weights_outside_the_file_are_quantized_as_those_inside(tmp_path: Path) -> None:
    model, feeds = models()["everything"]
    path = prepared(model, tmp_path)
    ranges = measured_ranges(path, feeds)
    inside = quantize_file(path, ranges, Scheme(OP_TYPES))
    apart = tmp_path / "apart" / "model.onnx"
    apart.parent.mkdir()
    onnx.save_model(
        onnx.load(path), apart, save_as_external_data=True, location="w", size_threshold=0
    )
    outside = quantize_file(apart, ranges, Scheme(OP_TYPES))
    assert outside.SerializeToString() == inside.SerializeToString()


def test_a_marked_activation_without_a_range_is_refused_by_name(tmp_path: Path) -> None:
    path = prepared(tiny_models.mlp(), tmp_path)
    with pytest.raises(PrecisionFailed, match="range of activation x was not measured"):
        quantize_file(path, {}, Scheme(OP_TYPES))


def test_an_operator_without_a_rule_is_refused_by_name(tmp_path: Path) -> None:
    path = prepared(tiny_models.attention(), tmp_path)
    graph = onnx.load(path).graph
    graph.node[0].op_type = "TopK"
    with pytest.raises(PrecisionFailed, match="no rule for quantizing TopK"):
        plan_quantization(graph, Scheme(("TopK",)))


# Where onnxruntime's quantizer is wrong, ours is right.


def test_a_gemm_keeps_its_beta(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[n, 8] x) => (float[n, 8] y) { y = Gemm <transB = 1, beta = 0.25> (x, w, b) }"""
    model = tiny_models.with_weights(text, {"w": (8, 8), "b": (8,)})
    tiny_models.replace_weight(model, "b", np.full(8, 20.0))
    feeds = {"x": image((50, 8))}
    path = prepared(model, tmp_path)
    ours = quantize_file(path, measured_ranges(path, feeds), Scheme(OP_TYPES))
    expected = Session(path).run(feeds)["y"]
    actual = _in_memory(ours).run(None, feeds)[0]
    assert np.linalg.norm(actual - expected) < 0.02 * np.linalg.norm(expected)


def test_a_clip_that_leaves_out_zero_stays(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[n, 8] x) => (float[n, 8] y) <float low = {1.0}, float high = {2.0}> {
        h = Gemm <transB = 1> (x, w, b)
        y = Clip (h, low, high)
    }"""
    model = tiny_models.with_weights(text, {"w": (8, 8), "b": (8,)})
    feeds = {"x": image((50, 8))}
    path = prepared(model, tmp_path)
    ours = quantize_file(path, measured_ranges(path, feeds), Scheme(OP_TYPES))
    assert _in_memory(ours).run(None, feeds)[0].min() > 0.95


def test_what_a_branch_captures_is_left_to_it(tmp_path: Path) -> None:
    shapes = {name: tiny_models.MLP_WEIGHTS[name] for name in ("weight1", "bias1", "weight2")}
    path = prepared(tiny_models.with_weights(CAPTURING, shapes), tmp_path)
    feeds = {"x": image((20, 16)), "c": np.zeros((), np.bool_)}
    ranges = measured_ranges(path, feeds)
    ours = quantize_file(path, ranges, Scheme(OP_TYPES))
    expected = Session(path).run(feeds)["y"]
    actual = _in_memory(ours).run(None, feeds)[0]
    assert np.linalg.norm(actual - expected) < 0.02 * np.linalg.norm(expected)


# The arithmetic, as an algebra


finite = st.floats(-1e6, 1e6, width=32)


@given(st.tuples(finite, finite).map(sorted), st.booleans())
def test_zero_and_the_ends_of_a_range_survive_rounding(ends: list[float], symmetric: bool) -> None:
    by = activation_quantization(*ends, symmetric=symmetric)
    values = np.array([0.0, *ends], np.float32)
    back = dequantize(quantize(values, by), by)
    assert back[0] == 0.0
    assert np.all(np.abs(back - values) <= np.float64(by.scale) * 0.5001 + 1e-30)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0, 1, 2]), st.booleans())
def test_weights_are_off_by_half_a_step_at_most(
    seed: int, axis: int | None, reduce_range: bool
) -> None:
    weight = image((3, 4, 5), seed) * np.float32(10.0) ** image((3, 4, 1), seed)
    by = weight_quantization(weight, axis, reduce_range=reduce_range)
    shape = [1, 1, 1]
    if axis is not None:
        shape[axis] = -1
    error = np.abs(dequantize(quantize(weight, by), by) - weight)
    assert np.all(error <= by.scale.reshape(shape) * 0.5001)
    assert np.abs(quantize(weight, by)).max() == (64 if reduce_range else 127)


# The plan


def test_only_tensors_whose_ranges_decide_a_scale_are_asked_for(tmp_path: Path) -> None:
    asked = activations_to_measure(prepared(tiny_models.cnn(), tmp_path), Scheme(OP_TYPES))
    # c1 and c2 go with their Relus; p1 and f take their inputs' scales.
    assert asked == ("image", "r1", "r2", "g", "scores")


def test_an_activation_that_only_moves_values_has_their_range_where_it_has_none(
    tmp_path: Path,
) -> None:
    model, feeds = models()["cnn"]
    path = prepared(model, tmp_path)
    asked = activations_to_measure(path, Scheme(OP_TYPES))
    ranges = {name: r for name, r in measured_ranges(path, feeds).items() if name in asked}
    first = next(node.name for node in onnx.load(path).graph.node if node.op_type == "Conv")
    ours = quantize_file(path, ranges, Scheme(OP_TYPES, float_nodes=frozenset({first})))
    scales = constants(ours, "_scale")
    # Its convolution is in float, so that the second one's input has a scale of its own.
    assert "r1_scale" not in scales
    assert scales["p1_scale"] * 255 == pytest.approx(ranges["r1"][1])
