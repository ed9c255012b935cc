"""Of several conversions the one that repeats the source's answers is taken."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from slipway.errors import ExportFailed
from slipway.exporters.routes import Route, choose_route
from slipway.samples.golden import GoldenCase, GoldenSet


def times(factor: float, *, output: str = "y") -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["": 18]>
        g (float[batch, 2] x) => (float[batch, 2] {output})
        {{ f = Constant <value_float = {factor}> () {output} = Mul(x, f) }}"""
    )


def frozen_at_one() -> onnx.ModelProto:
    """Right for one row alone."""
    return onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float[batch, 2] x) => (float[one, 2] y)
        <int64[2] shape = {1, -1}> { z = Reshape(x, shape) f = Constant <value_float = 2.0> ()
          y = Mul(z, f) }"""
    )


def failing() -> onnx.ModelProto:
    raise ExportFailed("no way")


@pytest.fixture
def golden() -> GoldenSet:
    rows = np.random.default_rng(0).random((3, 2), np.float32)
    return GoldenSet(
        tuple(
            GoldenCase(inputs={"x": rows[:size]}, outputs={"y": rows[:size] * 2}) for size in (1, 3)
        )
    )


def test_a_wrong_route_gives_way_to_a_right_one(golden: GoldenSet, tmp_path: Path) -> None:
    routes = [
        Route("fails", failing),
        Route("wrong", lambda: times(3.0)),
        Route("frozen", frozen_at_one),
        Route("right", lambda: times(2.0)),
        Route("never asked", failing),
    ]
    chosen = choose_route(routes, golden, tmp_path / "model.onnx")
    assert chosen.name == "right"
    assert chosen.findings == ()
    assert onnx.load(chosen.model).graph == times(2.0).graph


def test_the_nearest_of_wrong_routes_is_kept_and_said(golden: GoldenSet, tmp_path: Path) -> None:
    routes = [Route("far", lambda: times(9.0)), Route("near", lambda: times(2.1))]
    routes += [Route("far too", lambda: times(float(np.float32(1e9))))]
    chosen = choose_route(routes, golden, tmp_path / "model.onnx")
    assert chosen.name == "near"
    assert [finding.code for finding in chosen.findings] == ["routes-disagree"]
    assert onnx.load(chosen.model).graph == times(2.1).graph


def test_every_reason_is_told_when_no_route_runs(golden: GoldenSet, tmp_path: Path) -> None:
    routes = [Route("one", failing), Route("two", frozen_at_one)]
    with pytest.raises(ExportFailed, match=r"one: no way; two: output y has shape \[1, 6\]"):
        choose_route(routes, golden, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
