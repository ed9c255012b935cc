"""Each kind of fault is made for real, told by its name, and not told where it is not there."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from slipway.errors import DataError
from slipway.protocols import ValidateRequest
from slipway.providers.sessions import Session
from slipway.reports import Diagnosis
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BudgetSpec, ParitySpec, Tolerance
from slipway.validation.diagnosis import diagnose
from slipway.validation.validate import validate
from tests.unit.validation.graphs import HEAD, graph, linear, save

WEIGHT = np.arange(8, dtype=np.float32).reshape(4, 2)


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def told(
    model: onnx.ModelProto, folder: Path, *cases: tuple[dict[str, Array], dict[str, Array]]
) -> Diagnosis | None:
    golden = GoldenSet(tuple(GoldenCase(*case) for case in cases))
    return diagnose(Session(save(model, folder)), golden, Tolerance())


def linear_cases(*sizes: int, factor: float = 1.0) -> list[Any]:
    xs = [draw(size, 4) for size in sizes]
    return [({"x": x}, {"y": x @ WEIGHT * np.float32(factor)}) for x in xs]


def test_a_right_model_has_no_diagnosis(tmp_path: Path) -> None:
    assert told(linear(WEIGHT), tmp_path, *linear_cases(1, 3, 5)) is None


def test_a_wrong_model_that_no_rule_explains_has_none_either(tmp_path: Path) -> None:
    cases = [(inputs, {"y": np.sin(out["y"])}) for inputs, out in linear_cases(1, 3, 32)]
    assert told(linear(WEIGHT), tmp_path, *cases) is None


@pytest.mark.parametrize(
    "body",
    [
        # Fails at other sizes; gives another shape at other sizes; is silently wrong there.
        "s = Constant<value_ints=[1, 4]>() z = Reshape(x, s) y = MatMul(z, w)",
        (
            "a = Constant<value_ints=[0]>() b = Constant<value_ints=[1]>() "
            "z = Slice(x, a, b, a) y = MatMul(z, w)"
        ),
        (
            "a = Constant<value_ints=[0]>() b = Constant<value_ints=[1]>() "
            "f = Slice(x, a, b, a) o = Sub(x, x) z = Add(o, f) y = MatMul(z, w)"
        ),
    ],
)
def test_a_batch_frozen_at_one_is_named_with_its_axis(body: str, tmp_path: Path) -> None:
    text = f"g (float[n, 4] x) => (float[m, 2] y) {{ {body} }}"
    found = told(graph(text, w=WEIGHT), tmp_path, *linear_cases(1, 3, 5))
    assert found is not None
    assert found.kind == "frozen-dimension"
    assert found.evidence == {"input": "x", "axis": 0, "size": 1}
    assert "agree at size 1, and not at 3, 5" in found.sentence


def test_a_small_case_that_agrees_by_luck_is_no_frozen_dimension(tmp_path: Path) -> None:
    cases = linear_cases(1, 3, 5)
    for _, outputs in cases[1:]:
        outputs["y"][1:] += 1  # rows that are wrong at any batch size
    assert told(linear(WEIGHT), tmp_path, *cases) is None


def test_a_frozen_sequence_is_named_as_well(tmp_path: Path) -> None:
    text = (
        "g (float[n, s] x) => (float[n, t] y) "
        "{ a = Constant<value_ints=[0]>() b = Constant<value_ints=[7]>() "
        "c = Constant<value_ints=[1]>() y = Slice(x, a, b, c) }"
    )
    xs = [draw(2, 7), draw(2, 9)]
    found = told(graph(text), tmp_path, *[({"x": x}, {"y": x}) for x in xs])
    assert found is not None
    assert found.evidence == {"input": "x", "axis": 1, "size": 7}


def conv(shape: str) -> onnx.ModelProto:
    text = f"g (float[{shape}] x) => (float[n, 2, h, w] y) {{ y = Conv(x, k) }}"
    return graph(text, k=draw(2, 3, 1, 1, seed=1))


def conv_case(*, channels_last: bool, size: tuple[int, int]) -> Any:
    x = draw(2, 3, *size)
    y = np.einsum("nchw,oc->nohw", x, draw(2, 3, 1, 1, seed=1)[:, :, 0, 0])
    return {"x": x.transpose(0, 2, 3, 1) if channels_last else x}, {"y": y}


def test_channels_last_data_for_a_channels_first_model_is_told(tmp_path: Path) -> None:
    # Three by three: the shapes fit either way, and only the values are wrong.
    model = conv("n, 3, 3, 3")
    found = told(model, tmp_path, conv_case(channels_last=True, size=(3, 3)))
    assert found is not None
    assert found.kind == "layout"
    assert "input x is transposed by [0, 3, 1, 2]: the model takes channels first" in found.sentence
    assert told(model, tmp_path, conv_case(channels_last=False, size=(3, 3))) is None


def test_a_transposed_output_is_told(tmp_path: Path) -> None:
    text = "g (float[n, 4] x) => (float[2, n] y) { z = MatMul(x, w) y = Transpose(z) }"
    found = told(graph(text, w=WEIGHT), tmp_path, *linear_cases(3, 5))
    assert found is not None
    assert found.evidence == {"output": "y", "transposed": "[1, 0]"}


def test_a_model_that_draws_random_numbers_is_told(tmp_path: Path) -> None:
    text = "g (float[n, 4] x) => (float[n, 4] y) { r = RandomNormalLike(x) y = Add(x, r) }"
    x = draw(3, 4)
    found = told(graph(text), tmp_path, ({"x": x}, {"y": x}))
    assert found is not None
    assert found.kind == "random"


def test_outputs_under_each_others_names_are_told(tmp_path: Path) -> None:
    text = "g (float[n] x) => (float[n] a, float[n] b) { a = Neg(x) b = Abs(x) }"
    x = draw(5)
    found = told(graph(text), tmp_path, ({"x": x}, {"a": np.abs(x), "b": -x}))
    assert found is not None
    assert found.kind == "swapped-outputs"
    assert found.evidence == {"a": "b", "b": "a"}


def test_right_values_of_another_type_are_told(tmp_path: Path) -> None:
    text = "g (float[n] x) => (int64[n] y) { c = Greater(x, x) y = Cast<to=7>(c) }"
    x = draw(5)
    found = told(graph(text), tmp_path, ({"x": x}, {"y": np.zeros(5, bool)}))
    assert found is not None
    assert found.kind == "dtype"
    assert "as int64, where the source gives bool" in found.sentence


def test_a_fusion_that_changes_the_outputs_is_told(tmp_path: Path) -> None:
    # The convolution overflows float32; fused with the scale behind it, it does not.
    text = "g (float[n, 1, 4, 4] x) => (float[n, 1, 4, 4] y) { c = Conv(x, k) y = Mul(c, s) }"
    weights = {
        "k": np.full((1, 1, 1, 1), 3e38, np.float32),
        "s": np.full((1, 1, 1, 1), 1e-38, np.float32),
    }
    x = np.linspace(0.1, 2, 16, dtype=np.float32).reshape(1, 1, 4, 4)
    with np.errstate(over="ignore"):
        source = x * np.float32(3e38) * np.float32(1e-38)
    golden = GoldenSet((GoldenCase({"x": x}, {"y": source}),))
    model = save(graph(text, head=HEAD, **weights), tmp_path)
    found = diagnose(Session(model), golden, Tolerance(), model=model)
    assert found is not None
    assert found.kind == "optimizer"


def test_rows_on_a_threshold_are_told_apart_from_wrong_ones(tmp_path: Path) -> None:
    text = "g (float[n, 1] x) => (float[n, 1] y) { c = Greater(x, t) y = Cast<to=1>(c) }"
    x = np.linspace(0, 1, 20, dtype=np.float32)[:, np.newaxis]
    model = graph(text, t=x[7].copy())
    expected = (x > np.nextafter(x[7], -np.inf)).astype(np.float32)  # the source's float64 side
    found = told(model, tmp_path, ({"x": x}, {"y": expected}))
    assert found is not None
    assert found.kind == "threshold"
    assert found.evidence == {"rows": 1, "of": 20, "cured": 1.0}
    expected[2] = 1  # a row that is wrong wherever the threshold is
    expected[3] = 1
    assert told(model, tmp_path, ({"x": x}, {"y": expected})) is None


def request(model: onnx.ModelProto, folder: Path, cases: list[Any]) -> ValidateRequest:
    golden = folder / "golden.npz"
    GoldenSet(tuple(GoldenCase(*case) for case in cases)).save(golden)
    return ValidateRequest(
        precision="fp32",
        model=save(model, folder),
        golden=golden,
        parity=ParitySpec(),
        budget=BudgetSpec(),
    )


def test_the_verdict_says_it_and_carries_the_evidence(tmp_path: Path) -> None:
    text = (
        "g (float[n, 4] x) => (float[m, 2] y) "
        "{ s = Constant<value_ints=[1, 4]>() z = Reshape(x, s) y = MatMul(z, w) }"
    )
    report = validate(
        request(graph(text, head=HEAD, w=WEIGHT), tmp_path, linear_cases(1, 3)), tmp_path
    )
    assert not report.passed
    assert report.diagnosis is not None
    assert str(report.reason).endswith(report.diagnosis.sentence)
    assert "does not run" in str(report.reason)


def test_shapes_that_fit_only_after_transposition_are_explained(tmp_path: Path) -> None:
    case = conv_case(channels_last=True, size=(5, 4))
    with pytest.raises(DataError, match=r"the model takes \[n, 3, h, w\].*channels first"):
        validate(request(conv("n, 3, h, w"), tmp_path, [case]), tmp_path)


def test_a_passing_variant_carries_no_diagnosis(tmp_path: Path) -> None:
    assert (
        validate(request(linear(WEIGHT), tmp_path, linear_cases(1, 3)), tmp_path).diagnosis is None
    )
