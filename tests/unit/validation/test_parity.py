"""A golden set is replayed and every output judged."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.errors import DataError, SourceNotFound
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import check_parity
from slipway.validation.replay import fit_case, load_golden
from tests.unit.validation.graphs import graph, linear, save

WEIGHT = np.arange(8, dtype=np.float32).reshape(4, 2)
NORMAL = Tolerance()


def record(*sizes: int, factor: float = 1.0) -> GoldenSet:
    """What numpy says of `linear()`, at several batch sizes."""
    draw = np.random.default_rng(0)
    cases = []
    for size in sizes:
        x = draw.normal(size=(size, 4)).astype(np.float32)
        cases.append(GoldenCase({"x": x}, {"y": x @ WEIGHT * np.float32(factor)}))
    return GoldenSet(tuple(cases))


def test_a_right_model_passes_over_all_cases(tmp_path: Path) -> None:
    report = check_parity(save(linear(), tmp_path), record(3, 5), tolerance=NORMAL)
    assert report.passed
    assert (report.cases, report.samples) == (2, 8)
    assert report.outputs[0].label_agreement == 1


def test_the_case_of_the_largest_excess_is_named(tmp_path: Path) -> None:
    golden = record(3, 5)
    golden.cases[1].outputs["y"][4, 1] += 7
    report = check_parity(save(linear(), tmp_path), golden, tolerance=NORMAL)
    (found,) = report.outputs
    assert not report.passed
    assert (found.worst_case, found.worst_index) == (1, (4, 1))
    assert found.max_abs_error == pytest.approx(7)
    assert "at [4, 1] of case 1" in str(found.reason)


def test_a_model_that_breaks_at_another_shape_fails_with_the_shape(tmp_path: Path) -> None:
    model = graph(
        "g (float[n, 4] x) => (float[m, 2] y) { s = Constant<value_ints = [3, 4]>()"
        "r = Reshape(x, s) y = MatMul(r, w) }",
        w=WEIGHT,
    )
    report = check_parity(save(model, tmp_path), record(3, 5), tolerance=NORMAL)
    assert not report.passed
    assert "golden case 1 (x [5, 4]) does not run" in str(report.outputs[0].reason)


def test_int8_is_judged_by_distance_and_labels(tmp_path: Path) -> None:
    path = save(linear(), tmp_path)
    near, far = record(4, factor=1.05), record(4, factor=1.5)
    assert not check_parity(path, near, tolerance=NORMAL).passed
    assert check_parity(path, near, tolerance=NORMAL, by="labels").passed
    report = check_parity(path, far, tolerance=NORMAL, by="labels")
    assert "relative L2 error is 0.3333, allowed is 0.1" in str(report.outputs[0].reason)


def test_int8_whose_labels_flip_fails_though_it_is_near(tmp_path: Path) -> None:
    golden = record(4)
    y = golden.cases[0].outputs["y"]
    y[0] += (1e3, 1e3)
    y[1:] = y[1:, ::-1]
    report = check_parity(
        save(linear(), tmp_path), golden, tolerance=NORMAL, by="labels", relative_error=1.0
    )
    assert "3 of 4 labels differ" in str(report.outputs[0].reason)


class TestReplay:
    def test_feeds_are_cast_to_what_the_model_takes(self, tmp_path: Path) -> None:
        x = {"x": np.ones((2, 4)), "dropped": np.ones(1)}
        feeds = fit_case(Session(save(linear(), tmp_path)).inputs, x)
        assert feeds.keys() == {"x"}
        assert feeds["x"].dtype == np.float32

    def test_single_numbers_and_text_can_be_fed(self, tmp_path: Path) -> None:
        model = graph(
            "g (float k, string[n] s, float[n] x) => (float[n] y, string[n] t) "
            "{ y = Mul(k, x) t = Identity(s) }"
        )
        inputs: dict[str, Array] = {
            "k": np.array(2.0),
            "s": np.array(["a", "b"]),
            "x": np.array([1.0, 2.0], np.float32),
        }
        outputs = {"y": np.array([2.0, 4.0]), "t": np.array(["a", "b"])}
        golden = GoldenSet((GoldenCase(inputs, outputs),))
        report = check_parity(save(model, tmp_path), golden, tolerance=NORMAL)
        assert report.passed

    def test_a_missing_input_is_named(self, tmp_path: Path) -> None:
        golden = GoldenSet((GoldenCase({"z": np.ones((2, 4))}, {"y": np.ones((2, 2))}),))
        with pytest.raises(DataError, match="no input 'x'; it has z"):
            check_parity(save(linear(), tmp_path), golden, tolerance=NORMAL)


class TestGoldenFiles:
    def test_a_recorded_set_comes_back(self, tmp_path: Path) -> None:
        record(2, 3).save(tmp_path / "golden.npz")
        loaded = load_golden(tmp_path / "golden.npz", ["x"])
        assert len(loaded.cases) == 2
        assert np.array_equal(loaded.cases[1].outputs["y"], record(2, 3).cases[1].outputs["y"])

    def test_a_plain_file_is_one_case(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "plain.npz", x=np.ones((2, 4)), y=np.ones((2, 2)))
        (case,) = load_golden(tmp_path / "plain.npz", ["x"]).cases
        assert (list(case.inputs), list(case.outputs)) == (["x"], ["y"])

    def test_a_plain_file_without_an_input_is_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "plain.npz", y=np.ones((2, 2)))
        with pytest.raises(DataError, match="no array named 'x'"):
            load_golden(tmp_path / "plain.npz", ["x"])

    def test_a_plain_file_without_outputs_is_refused(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "plain.npz", x=np.ones((2, 4)))
        with pytest.raises(DataError, match="inputs alone"):
            load_golden(tmp_path / "plain.npz", ["x"])

    def test_a_missing_file_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFound):
            load_golden(tmp_path / "none.npz", ["x"])


def test_half_precision_outputs_agree_with_a_float32_source(tmp_path: Path) -> None:
    model = graph(
        "g (float[n, 4] x) => (float16[n, 2] y) { m = MatMul(x, w) y = Cast<to = 10>(m) }",
        w=WEIGHT,
    )
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    report = check_parity(
        save(model, tmp_path), record(3), tolerance=Tolerance(rtol=1e-2, atol=1e-2)
    )
    assert report.passed
    assert (report.outputs[0].max_abs_error or 0) > 0
