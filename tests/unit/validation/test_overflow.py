"""Float16 that overflows on a GPU is found on a CPU, which hides it."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.protocols import ValidateRequest
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BudgetSpec, ParitySpec
from slipway.validation.overflow import find_overflow
from slipway.validation.parity import check_parity
from slipway.validation.validate import validate
from tests.unit.validation.graphs import graph, save


def half(factor: float) -> onnx.ModelProto:
    """y = (100 k x)(x / k), whose middle is large where k is; the outputs are not."""
    return graph(
        "g (float[n, 4] x) => (float[n, 4] y) { h = Cast<to = 10>(x) a = Mul(h, big) "
        "b = Mul(a, small) y = Cast<to = 1>(b) }",
        big=np.array(factor, np.float16),
        small=np.array(1 / factor, np.float16),
    )


def golden() -> GoldenSet:
    x = np.array([[1, 2, 3, 100]], np.float32)
    return GoldenSet((GoldenCase({"x": x}, {"y": x}),))


def test_the_cpu_hides_an_overflow_that_is_found(tmp_path: Path) -> None:
    path = save(half(1000), tmp_path)
    parity = check_parity(path, golden(), tolerance=ParitySpec().fp16)
    assert parity.passed, "the CPU provider no longer hides overflow: this module can go"
    found = find_overflow(path, golden(), tmp_path)
    assert found is not None
    assert (found.code, found.place) == ("fp16-overflow", "Mul giving 'a'")


def test_a_model_within_range_has_none(tmp_path: Path) -> None:
    assert find_overflow(save(half(100), tmp_path), golden(), tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_float32_model_has_none(tmp_path: Path) -> None:
    model = graph("g (float[n, 4] x) => (float[n, 4] y) { a = Mul(x, x) y = Sqrt(a) }")
    assert find_overflow(save(model, tmp_path), golden(), tmp_path) is None


def test_a_mask_of_minus_infinity_is_no_overflow(tmp_path: Path) -> None:
    model = graph(
        "g (float[n, 4] x) => (float[n, 4] y) { h = Cast<to = 10>(x) a = Add(h, mask) "
        "b = Mul(a, two) s = Softmax(b) y = Cast<to = 1>(s) }",
        mask=np.array([0, -np.inf, 0, -65504], np.float16),
        two=np.array(2, np.float16),
    )
    x = np.array([[1, 2, 3, -100]], np.float32)
    cases = GoldenSet((GoldenCase({"x": x}, {"y": x}),))
    assert find_overflow(save(model, tmp_path), cases, tmp_path) is None


@pytest.mark.parametrize(("factor", "passed"), [(1000, False), (100, True)])
def test_the_verdict_on_fp16_knows_of_it(tmp_path: Path, factor: float, passed: bool) -> None:
    golden().save(tmp_path / "golden.npz")
    request = ValidateRequest(
        precision="fp16",
        model=save(half(factor), tmp_path),
        golden=tmp_path / "golden.npz",
        parity=ParitySpec(),
        budget=BudgetSpec(),
    )
    report = validate(request, tmp_path)
    assert report.passed == passed
    assert ("overflows float16" in str(report.reason)) is not passed
