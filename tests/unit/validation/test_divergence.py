"""The first node that goes wrong is named, on graphs that really go wrong there."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.providers.sessions import Session
from slipway.reports import Diagnosis, Divergence
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import Tolerance
from slipway.validation.diagnosis.divergence import find_float32_departure, open_failure
from slipway.validation.explain import find_causes
from slipway.validation.validate import validate
from tests.unit.validation.graphs import HEAD, graph, linear, save
from tests.unit.validation.test_diagnosis import draw, linear_cases, request

Cases = list[tuple[dict[str, Array], dict[str, Array]]]

# The variance as the mean of squares less the square of the mean: right on paper.
VARIANCE = """
g (float[n, 64] x) => (float[n, 1] y) {
    s = Mul(x, x)
    a = ReduceMean(s, axes)
    m = ReduceMean(x, axes)
    b = Mul(m, m)
    v = Sub(a, b)
    y = Sqrt(v)
}
"""


def variance() -> onnx.ModelProto:
    return graph(VARIANCE, axes=np.array([1], dtype=np.int64))


def variance_cases() -> Cases:
    xs = [draw(rows, 64, seed=rows) + np.float32(3000) for rows in (4, 2)]
    exact = [x.astype(np.float64).std(axis=1, keepdims=True).astype(np.float32) for x in xs]
    return [({"x": x}, {"y": y}) for x, y in zip(xs, exact, strict=True)]


def told(
    model: onnx.ModelProto, folder: Path, cases: Cases, tolerance: Tolerance | None = None
) -> tuple[Divergence, Diagnosis] | None:
    golden = GoldenSet(tuple(GoldenCase(*case) for case in cases))
    opened = open_failure(save(model, folder), golden, tolerance or Tolerance(), folder)
    assert opened is not None
    return find_float32_departure(opened)


def test_the_node_where_float32_cancels_is_named_with_its_error(tmp_path: Path) -> None:
    found = told(variance(), tmp_path, variance_cases())
    assert found is not None
    divergence, diagnosis = found
    assert (divergence.tensor, divergence.operator, divergence.position) == ("v", "Sub", 4)
    assert divergence.agreeing == 4
    assert divergence.case == 1, "the smallest that is wrong"
    assert divergence.max_abs_error is not None
    assert divergence.max_abs_error > 0.01
    assert "made by node v (Sub, 5 of 6)" in divergence.sentence
    assert diagnosis.kind == "float32-cliff"
    assert diagnosis.evidence["agrees in float64"] == "yes"


def test_a_wrong_graph_is_not_blamed_on_float32(tmp_path: Path) -> None:
    assert told(linear(), tmp_path, linear_cases(1, 3, factor=1.1)) is None


def test_what_is_off_beside_the_wrong_outputs_way_is_not_blamed(tmp_path: Path) -> None:
    text = VARIANCE.replace("=> (float[n, 1] y)", "=> (float[n, 1] y, float[n, 64] z)")
    text = text.replace("y = Sqrt(v)", "r = Sqrt(v) y = Sub(r, r) z = Neg(x)")
    model = graph(text, axes=np.array([1], dtype=np.int64))
    cases: Cases = [
        (inputs, {"y": np.zeros_like(outputs["y"]), "z": inputs["x"]})
        for inputs, outputs in variance_cases()
    ]
    assert told(model, tmp_path, cases) is None


def test_an_operator_that_the_runtime_computes_otherwise_is_told_from_rounding(
    tmp_path: Path,
) -> None:
    # A maximum with NaN in it is NaN in ONNX, numpy and torch; onnxruntime passes over it.
    text = "g (float[n, 4] x) => (float[n, 1] y) { a = Neg(x) y = ReduceMax(a, axes) }"
    model = graph(text, axes=np.array([1], dtype=np.int64))
    x = np.array([[1, np.nan, 3, 4]], dtype=np.float32)
    found = told(model, tmp_path, [({"x": x}, {"y": np.array([[np.nan]], np.float32)})])
    assert found is not None
    assert found[1].kind == "runtime"
    assert found[1].evidence["operator"] == "ReduceMax"
    assert "otherwise than ONNX says, and in float64 the graph agrees" in found[1].sentence


def test_a_tolerance_finer_than_float32_is_told_as_that(tmp_path: Path) -> None:
    weights = draw(512, 2, seed=3)
    text = "g (float[n, 512] x) => (float[n, 2] y) { y = MatMul(x, w) }"
    x = draw(3, 512)
    exact = (x.astype(np.float64) @ weights.astype(np.float64)).astype(np.float32)
    case = ({"x": x}, {"y": exact})
    found = told(graph(text, w=weights), tmp_path, [case], Tolerance(rtol=0, atol=0))
    assert found is not None
    assert found[1].kind == "tolerance"
    assert float(found[1].evidence["needed rtol"]) < 1e-5


@pytest.mark.parametrize("inner", ["Loop", "If"])
def test_values_inside_subgraphs_are_followed(inner: str, tmp_path: Path) -> None:
    bodies = {
        "If": "t = If (c) <then_branch = a () => (float[n, 1] u) {u = Neg(v)}, "
        "else_branch = b () => (float[n, 1] w) {w = Abs(v)}>",
        "Loop": "t = Loop (k, c, v) <body = a (int64 i, bool g, float[n, 1] p) => "
        "(bool h, float[n, 1] q) {h = Identity(g) q = Neg(p)}>",
    }
    text = VARIANCE.replace("y = Sqrt(v)", f"{bodies[inner]} q2 = Abs(t) y = Sqrt(q2)")
    weights = {"axes": np.array([1], np.int64), "c": np.array(1) > 0, "k": np.array(3, np.int64)}
    if inner == "If":
        weights.pop("k")
    found = told(graph(text, head=HEAD, **weights), tmp_path, variance_cases())
    assert found is not None
    assert found[0].tensor == "v"


def test_a_failure_that_cannot_be_explained_is_left_as_it_is(tmp_path: Path) -> None:
    model = save(variance(), tmp_path)
    golden = GoldenSet(tuple(GoldenCase(*case) for case in variance_cases()))
    nowhere = tmp_path / "missing"
    assert find_causes(model, Session(model), golden, Tolerance(), nowhere) == (None, None)


def test_the_verdict_carries_the_node(tmp_path: Path) -> None:
    report = validate(request(variance(), tmp_path, variance_cases()), tmp_path)
    assert report.divergence is not None
    assert report.diagnosis is not None
    assert report.diagnosis.kind == "float32-cliff"
    assert str(report.reason).endswith(report.divergence.sentence)
    assert not (tmp_path / "exposed.onnx").exists()
