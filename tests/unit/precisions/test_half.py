"""float16 where it holds the numbers: right in true half arithmetic, with few casts."""

from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import DataError, UnreadableModel
from slipway.precisions import convert, graphs
from slipway.precisions.half import constants, overflow
from slipway.precisions.half.cuts import Network
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, save_npz
from slipway.specs import Fp16Spec
from tests.half_graphs import CASES, HalfCase, answers, fitted, graph, largest_error, random

TOLERANCE = 5e-3


def to_half(
    model: onnx.ModelProto,
    folder: Path,
    *,
    data: dict[str, Array] | None = None,
    keep_io: bool = True,
    largest: float = 16384.0,
) -> ConvertResult:
    onnx.save_model(model, folder / "in.onnx")
    calibration = None
    if data is not None:
        calibration = folder / "data.npz"
        save_npz(calibration, data)
    options = Fp16Spec(keep_io_types=keep_io, largest_activation=largest)
    request = ConvertRequest(
        precision="fp16", model=folder / "in.onnx", options=options, calibration=calibration
    )
    return convert(request, folder / "scratch")


def made(result: ConvertResult) -> onnx.ModelProto:
    assert result.model is not None, result.reason
    return onnx.load(result.model)


def error(case: HalfCase, source: Path, result: ConvertResult) -> float:
    """Against onnxruntime in float32, in half arithmetic wherever that can be evaluated."""
    assert result.model is not None, result.reason
    expected = Session(source).run(case.feeds)
    model = onnx.load(result.model)
    if case.evaluated:
        return largest_error(answers(model, case.feeds), expected)
    return largest_error(Session(result.model).run(fitted(model, case.feeds)), expected)


@pytest.mark.parametrize("keep_io", [True, False], ids=["float32 outside", "float16 outside"])
@pytest.mark.parametrize("name", CASES)
def test_awkward_graphs_stay_right_without_any_data(
    name: str, keep_io: bool, tmp_path: Path
) -> None:
    case = CASES[name]
    result = to_half(case.model(), tmp_path, keep_io=keep_io)
    assert error(case, tmp_path / "in.onnx", result) < TOLERANCE


@pytest.mark.parametrize("name", [name for name in CASES if name != "weights of 1e-8"])
def test_awkward_graphs_stay_right_where_data_decides(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    result = to_half(case.model(), tmp_path, data=case.feeds)
    assert error(case, tmp_path / "in.onnx", result) < TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_inputs_and_outputs_are_float16_where_that_is_asked(name: str, tmp_path: Path) -> None:
    model = made(to_half(CASES[name].model(), tmp_path, keep_io=False))
    types = {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}
    assert onnx.TensorProto.FLOAT not in types


def test_casts_are_shared_and_stand_at_the_edges_alone(tmp_path: Path) -> None:
    body = "a = MatMul (x, w) b = Relu (a) c = MatMul (b, w) d = Add (a, c) y = MatMul (d, w)"
    result = to_half(graph(body)(), tmp_path)
    assert result.settings["casts"] == 2
    assert result.settings["float32_nodes"] == 0


def test_cheap_nodes_between_float32_nodes_do_not_become_an_island(tmp_path: Path) -> None:
    body = """h = MatMul (x, w) a = Celu (h) b = Transpose (a) c = Relu (b) d = Transpose (c)
    e = Celu (d) y = MatMul (e, w)"""
    result = to_half(graph(body)(), tmp_path)
    assert result.settings["casts"] == 4  # x, h, e and y
    (kept,) = (f for f in result.findings if f.code == "fp16-not-worth-casts")
    assert "Transpose" in kept.message
    assert "Relu" in kept.message


def test_data_decides_where_without_it_the_worst_is_assumed(tmp_path: Path) -> None:
    model = graph("h = MatMul (x, w) a = Exp (h) y = MatMul (a, w)")
    (tmp_path / "blind").mkdir()
    (tmp_path / "seen").mkdir()
    blind = to_half(model(), tmp_path / "blind")
    seen = to_half(model(), tmp_path / "seen", data={"x": random(4, 8)})
    assert blind.settings["float32_nodes"] == 1
    assert seen.settings["float32_nodes"] == 0
    assert seen.settings["measured_samples"] == 4


def test_values_beyond_the_safe_range_are_named_with_how_far_they_reach(tmp_path: Path) -> None:
    model = graph("h = MatMul (x, w) a = Mul (h, c) y = MatMul (a, w)", constants="float c = {8.0}")
    result = to_half(model(), tmp_path, data={"x": random(4, 8)}, largest=8.0)
    (finding,) = (f for f in result.findings if f.code == "fp16-range")
    assert "a reaches" in finding.message


def test_what_overflows_inside_an_operator_is_found_and_goes_back_to_float32(
    tmp_path: Path,
) -> None:
    """The norm's input and output are in range; the squares between them are not."""
    model = graph(
        "h = MatMul (x, v) s = ReduceL2 <keepdims = 1> (h, axis) y = MatMul (s, u)",
        constants="int64[1] axis = {1}",
        v=np.eye(8, dtype=np.float32),
        u=random(1, 8, scale=0.1),
    )
    feeds = {"x": np.full((2, 8), 3_000, np.float32)}
    result = to_half(model(), tmp_path, data=feeds)
    (finding,) = (f for f in result.findings if f.code == "fp16-overflow")
    assert "ReduceL2" in finding.message
    assert error(HalfCase(model, feeds), tmp_path / "in.onnx", result) < TOLERANCE


def test_the_evaluators_work_is_bounded_and_its_absence_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["plain"]
    (tmp_path / "small").mkdir()
    (tmp_path / "large").mkdir()
    small = to_half(case.model(), tmp_path / "small", data=case.feeds)
    monkeypatch.setattr(overflow, "LARGEST_WORK", 10)
    large = to_half(case.model(), tmp_path / "large", data=case.feeds)
    assert "reference evaluator" in str(small.settings["overflow_check"])
    assert "too much work" in str(large.settings["overflow_check"])


def test_calibration_data_of_another_name_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="x"):
        to_half(CASES["plain"].model(), tmp_path, data={"other": random(4, 8)})


def test_a_model_with_external_data_is_measured_and_converted_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LARGE_BYTES", 100)
    model = graph(
        "h = MatMul (x, v) a = Relu (h) b = MatMul (a, u) y = Mul (b, big)",
        v=random(8, 64, scale=0.3),
        u=random(64, 8, scale=0.1),
        big=np.full((1, 8), 70_000, np.float32),
    )
    feeds = {"x": random(4, 8)}
    (tmp_path / "model").mkdir()
    source = tmp_path / "model" / "in.onnx"
    onnx.save_model(model(), source, save_as_external_data=True, location="w.bin", size_threshold=0)
    save_npz(tmp_path / "data.npz", feeds)
    request = ConvertRequest(
        precision="fp16",
        model=source,
        options=Fp16Spec(),
        calibration=tmp_path / "data.npz",
    )
    result = convert(request, tmp_path / "scratch")
    assert result.model is not None
    assert (result.model.parent / "model.onnx.data").stat().st_size >= 2 * 1024
    assert error(HalfCase(model, feeds), source, result) < TOLERANCE


def test_external_data_that_is_gone_is_said_by_name(tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    model = graph("y = MatMul (x, v)", v=random(8, 64))()
    onnx.save_model(model, source, save_as_external_data=True, location="w.bin")
    (tmp_path / "w.bin").unlink()
    request = ConvertRequest(precision="fp16", model=source, options=Fp16Spec())
    with pytest.raises(UnreadableModel, match="v"):
        convert(request, tmp_path / "scratch")


@given(st.floats(-65504, 65504, width=32))
def test_rounding_is_numpys(value: float) -> None:
    tensor = onnx.numpy_helper.from_array(np.array([value], np.float32), "w")
    rounded = constants.round_constant(tensor, "w", Path())
    assert onnx.numpy_helper.to_array(rounded.tensor)[0] == np.float16(value)
    assert rounded.clamped == 0


EDGES = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9)), max_size=14)


@given(EDGES)
def test_a_cut_is_as_small_as_the_smallest_of_all(edges: list[tuple[int, int, int]]) -> None:
    network = Network(6)
    for tail, head, capacity in edges:
        network.add_edge(tail, head, capacity)
    sides = network.cut(0, 5)

    def cost(side: tuple[bool, ...]) -> int:
        return sum(c for tail, head, c in edges if not side[tail] and side[head])

    least = min(cost((False, *inner, True)) for inner in product((False, True), repeat=4))
    assert not sides[0]
    assert sides[5]
    assert cost(tuple(sides)) == least
