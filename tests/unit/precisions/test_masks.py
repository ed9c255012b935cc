"""Mask constants: found where they only mask, clamped where no output changes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from slipway.precisions.masks import clamp_masks, find_masks
from slipway.precisions.preprocess import preprocess
from slipway.providers.sessions import Session
from slipway.samples.arrays import Samples
from tests import tiny_models

SELECTED = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 4] x, bool[batch, 4] keep) => (float[batch, 4] y) <float lowest = {-1e9}> {
    s = Relu (x)
    m = Where (keep, s, lowest)
    y = Softmax <axis = -1> (m)
}
"""
ALSO_A_VALUE = """
<ir_version: 10, opset_import: ["" : 18]>
g (float[batch, 4] x) => (float[batch, 4] y, float[batch, 4] z) <float lowest = {-1e9}> {
    s = Relu (x)
    m = Add (s, lowest)
    y = Softmax <axis = -1> (m)
    z = Abs (m)
}
"""


def batch(*, masked: float = 0.5) -> Samples:
    random = np.random.default_rng(0)
    mask = (random.random((12, 5)) > masked).astype(np.float32)
    if masked < 1:
        mask[:, 0] = 1
    return Samples({"x": random.standard_normal((12, 5, 16)).astype(np.float32) * 3, "mask": mask})


def test_a_mask_added_before_a_softmax_is_found() -> None:
    (mask,) = find_masks(tiny_models.attention().graph)
    assert (mask.constant, mask.scores) == ("lowest", ("s",))
    assert mask.lowest == np.finfo(np.float32).min


def test_a_mask_selected_before_a_softmax_is_found() -> None:
    (mask,) = find_masks(parser.parse_model(SELECTED).graph)
    assert (mask.constant, mask.lowest) == ("lowest", -1e9)
    assert "s" in mask.scores


def test_a_low_constant_that_is_used_elsewhere_is_no_mask() -> None:
    assert find_masks(parser.parse_model(ALSO_A_VALUE).graph) == ()
    assert find_masks(tiny_models.mlp().graph) == ()


def test_a_clamped_mask_keeps_the_softmax_exact(tmp_path: Path) -> None:
    model, samples = preprocess(tiny_models.attention(), tmp_path), batch()
    before = Session(model).run(samples.arrays)["y"]
    (finding,) = clamp_masks(model, samples)
    assert (finding.code, finding.place) == ("mask-clamped", "lowest")
    assert -1e4 < tiny_models.weight(onnx.load(model), "lowest") < -104
    np.testing.assert_allclose(Session(model).run(samples.arrays)["y"], before, atol=1e-6)


def test_a_mask_is_kept_where_rows_mask_everything(tmp_path: Path) -> None:
    model = preprocess(tiny_models.attention(), tmp_path)
    before = model.read_bytes()
    (finding,) = clamp_masks(model, batch(masked=1.0))
    assert finding.code == "mask-kept"
    assert model.read_bytes() == before


@pytest.mark.parametrize("value", [-np.inf, -1e30])
def test_other_stand_ins_for_infinity_are_clamped_too(value: float, tmp_path: Path) -> None:
    model = tiny_models.attention()
    tiny_models.replace_weight(model, "lowest", np.array(value, np.float32))
    prepared = preprocess(model, tmp_path)
    (finding,) = clamp_masks(prepared, batch(masked=0.0) if np.isinf(value) else batch())
    # Zero times infinity is NaN in the source itself.
    assert finding.code == ("mask-clamped" if np.isfinite(value) else "mask-kept")
