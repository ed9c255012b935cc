"""Zeros before a MaxPool stay zeros, whatever onnxruntime's optimizer makes of them."""

from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest

from slipway.exporters.guarding import guard_pools
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array
from slipway.specs import Optimization

POOLED = "p = Pad({pads}) y = MaxPool<kernel_shape=[3, 3], strides=[1, 1]>(p)"
NEGATIVE = -1 - np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)


def model(body: str, *, opset: int = 20) -> onnx.ModelProto:
    made = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": {opset}]> g (float[1, 1, 4, 4] x) => '
        f"(float[1, 1, 4, 4] y) {{ {body} }}"
    )
    zero = np.zeros((), np.float32)
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in (("w", PADS), ("z", zero))
    )
    return made


def answer(made: onnx.ModelProto, path: Path, optimization: Optimization = "all") -> Array:
    onnx.save(made, path)
    return Session(path, optimization=optimization).run({"x": NEGATIVE})["y"]


def test_without_the_guard_onnxruntime_gives_something_else(tmp_path: Path) -> None:
    made = model(POOLED.format(pads="x, w, z"))
    right = answer(made, tmp_path / "m.onnx", "none")
    assert right[0, 0, 0, 0] == 0
    assert answer(made, tmp_path / "m.onnx")[0, 0, 0, 0] == -1


@pytest.mark.parametrize("pads", ["x, w, z", "x, w"])
def test_zeros_before_a_maximum_stay(tmp_path: Path, pads: str) -> None:
    made = model(POOLED.format(pads=pads))
    right = answer(made, tmp_path / "m.onnx", "none") if "z" in pads else None
    guard_pools(made)
    onnx.checker.check_model(made, full_check=True)
    found = answer(made, tmp_path / "m.onnx")
    assert found[0, 0, 0, 0] == 0
    assert right is None or np.array_equal(found, right)


def test_pads_that_are_a_node_are_guarded_too(tmp_path: Path) -> None:
    body = "v = Constant<value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}>() "
    made = model(body + POOLED.format(pads="x, v, z"))
    guard_pools(made)
    assert answer(made, tmp_path / "m.onnx")[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    ("body", "opset"),
    [
        ("r = Relu(x) " + POOLED.format(pads="r, w, z"), 20),  # zeros and -inf are alike there
        ("p = Pad(x, w, z) y = Conv(p, k)", 20),
        (POOLED.format(pads="x, w, z"), 17),  # has no such input
    ],
)
def test_what_needs_no_guard_is_left_as_it_is(body: str, opset: int) -> None:
    made = model(body, opset=opset)
    before = made.SerializeToString()
    guard_pools(made)
    assert made.SerializeToString() == before
