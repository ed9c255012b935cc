"""The page of `slipway quantize`: what was written, what it costs, what was tried, all harmless."""

from pathlib import Path

from slipway.reporting.quantized import calibration, render_quantized
from slipway.reports import CalibrationTally, Finding, QuantizeReport
from tests.unit.reporting.test_failure import HOSTILE
from tests.unit.reporting.test_frontier_plot import FRONTIER

WRITTEN = QuantizeReport(
    name="network",
    passed=True,
    precision="int8-static",
    model=Path("out.onnx"),
    digest="sha256:abc",
    size_bytes=2048,
    settings={"method": "mse"},
    calibration=CalibrationTally(samples=256, resumed=40, batches=3),
    findings=(Finding(level="warning", code="few", message="few samples"),),
    frontier=FRONTIER,
    not_made={"int4-weights": "no matrix is large enough"},
)


def test_what_was_written_is_told_with_its_cost_and_all_that_was_tried() -> None:
    page = render_quantized(WRITTEN)
    for wanted in (
        "Written to out.onnx, 2.00 KiB: drop of accuracy 0.40 points, latency 0.500\u00d7",
        "256 samples, 40 of them counted before, 3 batches run",
        "method mse",
        "no matrix is large enough",
        "few samples",
        "int8-mixed",
        "<svg",
    ):
        assert wanted in page
    assert render_quantized(WRITTEN) == page


def test_a_budget_that_was_missed_names_the_nearest() -> None:
    missed = {"passed": False, "reason": "too far off", "nearest": FRONTIER.points[3:]}
    page = render_quantized(WRITTEN.model_copy(update=missed))
    assert "Nothing within the budget" in page
    assert "too far off. Nearest: int8-dynamic: drop of accuracy 3.00 points" in page


def test_text_of_a_model_stays_text() -> None:
    hostile = {"name": HOSTILE, "settings": {"float_nodes": HOSTILE}}
    page = render_quantized(WRITTEN.model_copy(update=hostile))
    assert "<script" not in page
    assert "<img" not in page


def test_no_calibration_is_a_dash() -> None:
    assert calibration(None) == "\u2013"
