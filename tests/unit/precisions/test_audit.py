"""The audit names every tensor whose scale makes garbage."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from slipway.precisions.audit import audit_ranges, audit_scales, summarize
from tests import tiny_models

QDQ = """
<ir_version: 10, opset_import: ["" : 18]>
qdq (float[n] x) => (float[n] y) <uint8 zero = {0}> {
    q = QuantizeLinear (x, x_scale, zero)
    y = DequantizeLinear (q, x_scale, zero)
}
"""

DYNAMIC = """
<ir_version: 10, opset_import: ["" : 18]>
dynamic (float[n, 2] x, float[n] passed_by) => (float[n, 2] y, float[n] z)
<int8[2, 2] w = {1, 2, 3, 4}> {
    q, x_scale, zero = DynamicQuantizeLinear (x)
    m = MatMulInteger (q, w, zero)
    c = Cast <to = 1> (m)
    s = Mul (x_scale, w_scale)
    y = Mul (c, s)
    z = Mul (passed_by, not_a_scale)
}
"""


def with_scale(text: str, **scales: float | list[float]) -> onnx.ModelProto:
    model = parser.parse_model(text)
    for name, value in scales.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return model


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.inf, "infinite"),
        (np.nan, "NaN"),
        (0.0, "zero"),
        (-0.1, "negative"),
        (1e-40, "subnormal"),
        (1.3e36, "mask"),
        ([0.1, np.inf], "infinite"),
    ],
)
def test_an_unusable_scale_is_named(
    value: float | list[float], problem: str, tmp_path: Path
) -> None:
    audit = audit_scales(tiny_models.save(with_scale(QDQ, x_scale=value), tmp_path))
    assert not audit.passed
    assert audit.tensors == 1
    assert audit.findings[0].place == "x_scale"
    assert problem in audit.findings[0].message


def test_a_usable_scale_passes(tmp_path: Path) -> None:
    audit = audit_scales(tiny_models.save(with_scale(QDQ, x_scale=0.02), tmp_path))
    assert audit.passed
    assert audit.tensors == 1


def test_the_weight_scale_of_dynamic_quantization_is_looked_at(tmp_path: Path) -> None:
    model = with_scale(DYNAMIC, w_scale=np.inf, not_a_scale=np.inf)
    audit = audit_scales(tiny_models.save(model, tmp_path))
    assert [finding.place for finding in audit.findings] == ["w_scale"]


def test_a_scale_in_external_data_is_looked_at(tmp_path: Path) -> None:
    model = with_scale(QDQ, x_scale=[0.1, 0.0])
    path = tmp_path / "model.onnx"
    onnx.save_model(model, path, save_as_external_data=True, location="d", size_threshold=0)
    assert audit_scales(path).findings[0].place == "x_scale"


def test_a_scale_in_a_constant_node_is_looked_at(tmp_path: Path) -> None:
    text = QDQ.replace("q = Q", "x_scale = Constant <value = float {0.0}> ()\n    q = Q")
    assert not audit_scales(tiny_models.save(parser.parse_model(text), tmp_path)).passed


def test_ranges_that_no_eight_bits_hold_are_named() -> None:
    ranges = {
        "fine": (-1.0, 2.0),
        "overflown": (0.0, float("inf")),
        "broken": (float("nan"), float("nan")),
        "masked": (-3.4e38, 1.0),
    }
    assert [f.place for f in audit_ranges(ranges)] == ["broken", "masked", "overflown"]


def test_a_long_list_of_errors_is_cut_short() -> None:
    findings = audit_ranges({f"t{i}": (0.0, float("inf")) for i in range(10)})
    text = summarize(findings)
    assert "t0" in text
    assert text.endswith("and 7 more")
