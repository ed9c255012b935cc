"""The verdict on a variant, from check, parity and metric."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from slipway.errors import DataError, SlipwayError, SourceNotFound, UnreadableModel
from slipway.protocols import ValidateRequest
from slipway.reports import ValidationReport
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BudgetSpec, ParitySpec
from slipway.validation.validate import validate
from tests.unit.validation.graphs import graph, linear, save

WEIGHT = np.array([[2, -1], [0, 1], [-1, 1], [1, 0]], np.float32)


def draw(rows: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    path = tmp_path / "golden.npz"
    cases = (GoldenCase({"x": draw(n)}, {"y": draw(n) @ WEIGHT}) for n in (3, 5))
    GoldenSet(tuple(cases)).save(path)
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    x = draw(600, seed=1)
    np.savez(tmp_path / "evaluation.npz", x=x, label=(x @ WEIGHT).argmax(axis=1))
    return tmp_path / "evaluation.npz"


def judge(model: onnx.ModelProto | Path, golden: Path, **fields: Any) -> ValidationReport:
    request = {
        "precision": "fp32",
        "model": model if isinstance(model, Path) else save(model, golden.parent),
        "golden": golden,
        "parity": ParitySpec(),
        "budget": BudgetSpec(),
        **fields,
    }
    return validate(ValidateRequest.model_validate(request), golden.parent)


def off(factor: float = 1.0, shift: float = 0.0) -> onnx.ModelProto:
    """The right model with its weights changed."""
    return linear(WEIGHT * np.float32(factor) + np.float32(shift))


def test_the_right_model_passes(golden: Path) -> None:
    report = judge(off(), golden)
    assert report.passed
    assert (report.reason, report.metric) == (None, None)


def test_a_wrong_model_fails_with_a_sentence(golden: Path) -> None:
    report = judge(off(factor=1.01), golden)
    assert not report.passed
    assert str(report.reason).startswith("output y: largest excess at [")


def test_a_failed_check_leaves_parity_out(golden: Path) -> None:
    report = judge(off(factor=float("nan")), golden)
    assert not report.passed
    assert report.parity is None
    assert report.reason == (
        "the check failed: initializer 'w': holds 8 NaN; training diverged or the file was damaged"
    )


def test_half_precision_has_its_own_tolerance(golden: Path) -> None:
    assert not judge(off(factor=1.005), golden).passed
    assert judge(off(factor=1.005), golden, precision="fp16").passed


class TestMetric:
    def test_without_a_baseline_it_is_the_baseline(self, golden: Path, evaluation: Path) -> None:
        report = judge(off(), golden, metric="accuracy", evaluation=evaluation)
        assert report.passed
        assert report.metric is not None
        assert (report.metric.value, report.metric.baseline, report.metric.drop) == (1, 1, 0)
        assert report.metric.samples == 600

    def test_a_drop_beyond_the_budget_fails(self, golden: Path, evaluation: Path) -> None:
        report = judge(
            off(shift=0.004),
            golden,
            precision="fp16",
            metric="accuracy",
            evaluation=evaluation,
            baseline=1.05,
        )
        assert not report.passed
        assert report.parity is not None
        assert report.parity.passed
        assert "worse than the baseline's 1.05; the budget is 0.01" in str(report.reason)

    def test_int8_is_decided_by_its_metric(self, golden: Path, evaluation: Path) -> None:
        report = judge(
            off(factor=1.5),
            golden,
            precision="int8-static",
            metric="accuracy",
            evaluation=evaluation,
            baseline=1.0,
        )
        assert report.parity is not None
        assert not report.parity.passed
        assert report.passed

    def test_right_labels_over_outputs_that_are_noise_do_not_pass(
        self, golden: Path, evaluation: Path
    ) -> None:
        report = judge(
            off(factor=1.8),
            golden,
            precision="int8-static",
            metric="accuracy",
            evaluation=evaluation,
            baseline=1.0,
        )
        assert report.metric is not None
        assert report.metric.value == 1.0
        assert not report.passed
        assert "output y is mostly noise: its relative L2 error is 0.8" in str(report.reason)

    def test_int8_that_loses_its_metric_fails_though_it_is_near(
        self, golden: Path, evaluation: Path
    ) -> None:
        report = judge(
            off(),
            golden,
            precision="int8-dynamic",
            metric="accuracy",
            evaluation=evaluation,
            baseline=1.2,
        )
        assert not report.passed
        assert "accuracy is 1, 0.2 worse" in str(report.reason)

    def test_a_smaller_error_is_better(self, golden: Path, tmp_path: Path) -> None:
        x = draw(50, seed=2)
        np.savez(tmp_path / "e.npz", x=x, label=x @ WEIGHT)
        report = judge(off(), golden, metric="rmse", evaluation=tmp_path / "e.npz", baseline=0.5)
        assert report.passed
        assert report.metric is not None
        assert report.metric.drop == pytest.approx(-0.5, abs=1e-6)

    def test_a_fixed_batch_size_is_filled_up(self, golden: Path, tmp_path: Path) -> None:
        model = graph("g (float[4, 4] x) => (float[4, 2] y) { y = MatMul(x, w) }", w=WEIGHT)
        x = draw(4)
        GoldenSet((GoldenCase({"x": x}, {"y": x @ WEIGHT}),)).save(golden)
        x = draw(10, seed=3)
        np.savez(tmp_path / "e.npz", x=x, label=(x @ WEIGHT).argmax(axis=1))
        report = judge(model, golden, metric="accuracy", evaluation=tmp_path / "e.npz")
        assert report.metric is not None
        assert (report.metric.value, report.metric.samples) == (1, 10)

    def test_a_metric_without_data_is_refused(self, golden: Path) -> None:
        with pytest.raises(DataError, match="needs evaluation data"):
            judge(off(), golden, metric="accuracy")

    def test_missing_labels_are_named(self, golden: Path, tmp_path: Path) -> None:
        np.savez(tmp_path / "e.npz", x=draw(3))
        with pytest.raises(DataError, match="no array named 'label'; there are x"):
            judge(off(), golden, metric="accuracy", evaluation=tmp_path / "e.npz")


class TestInt8WithoutMetric:
    def test_near_outputs_with_the_same_labels_pass(self, golden: Path) -> None:
        assert judge(off(factor=1.05), golden, precision="int8-dynamic").passed

    def test_far_outputs_fail(self, golden: Path) -> None:
        report = judge(off(factor=1.5), golden, precision="int8-dynamic")
        assert "relative L2 error" in str(report.reason)


class TestOutputsThatCannotBeServed:
    def test_infinite_outputs_fail_int8_whatever_its_metric(
        self, golden: Path, tmp_path: Path
    ) -> None:
        model = graph(
            "g (float[n, 4] x) => (float[n, 2] y) { z = MatMul(x, w) e = Mul(z, big) "
            "f = Mul(e, big) y = Add(z, f) }",
            w=WEIGHT,
            big=np.array(3e38, np.float32),
        )
        np.savez(tmp_path / "e.npz", x=draw(5), label=np.zeros(5, np.int64))
        report = judge(
            model,
            golden,
            precision="int8-static",
            metric="accuracy",
            evaluation=tmp_path / "e.npz",
            baseline=0.0,
        )
        assert not report.passed
        assert "not finite" in str(report.reason)
        assert report.metric is None

    def test_an_output_of_another_name_fails(self, golden: Path) -> None:
        model = graph("g (float[n, 4] x) => (float[n, 2] z) { z = MatMul(x, w) }", w=WEIGHT)
        report = judge(model, golden, precision="int8-static")
        assert "the model gives no such output; it gives z" in str(report.reason)


class TestBadInput:
    def test_no_model_is_unreadable(self, golden: Path) -> None:
        path = golden.parent / "noise.onnx"
        path.write_bytes(np.random.default_rng(0).bytes(500))
        with pytest.raises(UnreadableModel):
            judge(path, golden)

    def test_no_golden_set_is_not_found(self, golden: Path) -> None:
        with pytest.raises(SourceNotFound):
            judge(off(), golden.parent / "none.npz")

    def test_mutated_models_give_reports_or_our_errors(self, golden: Path) -> None:
        data = bytearray(off().SerializeToString())
        random = np.random.default_rng(4)
        path = golden.parent / "mutated.onnx"
        seen: set[bool | type[SlipwayError]] = set()
        for _ in range(150):
            mutated = data.copy()
            for position in random.integers(0, len(data), 3):
                mutated[position] = random.integers(0, 256)
            path.write_bytes(mutated)
            try:
                seen.add(judge(path, golden).passed)
            except SlipwayError as error:
                seen.add(type(error))
        assert False in seen
        assert UnreadableModel in seen


def test_validation_imports_no_framework() -> None:
    code = (
        "import sys; import slipway.validation.validate; import onnxruntime;"
        "print([m for m in ('sklearn', 'torch', 'scipy', 'pandas', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.stdout.strip() == "[]"
