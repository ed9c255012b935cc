"""Latency against throughput, as the report shows it."""

import xml.etree.ElementTree as ET

from slipway.reporting.html import load_panels
from slipway.reporting.throughput_plot import throughput_plot
from slipway.reports import (
    BenchmarkSuite,
    Estimate,
    Evidence,
    ScenarioReport,
    SessionSettings,
    SweepReport,
)

UNKNOWN = Estimate(value_ms=None, low_ms=None, high_ms=None)


def row(batch: int, p50: float, throughput: float, *, label: str = "fp32") -> ScenarioReport:
    return ScenarioReport(
        scenario="offline",
        precision=label,
        batch_size=batch,
        queries=33,
        p50=Estimate(value_ms=p50, low_ms=p50, high_ms=p50),
        p95=UNKNOWN,
        p99=UNKNOWN,
        throughput=throughput,
    )


ROWS = (row(1, 0.1, 10_000), row(2, 0.15, 13_000), row(4, 0.3, 13_300))


def test_every_batch_size_is_a_dot_with_its_number() -> None:
    svg = str(throughput_plot(ROWS, title="cpu"))
    parsed = ET.fromstring(svg)  # noqa: S314 - our own
    marks = [element for element in parsed.iter("svg") if "mark" in element.get("class", "")]
    assert len(marks) == 3
    assert ">4</text>" in svg
    assert "batch 2 0.150" in svg


def test_more_throughput_is_higher_and_more_latency_further_right() -> None:
    parsed = ET.fromstring(str(throughput_plot(ROWS, title="cpu")))  # noqa: S314
    marks = [element for element in parsed.iter("svg") if "mark" in element.get("class", "")]
    across = [float(mark.get("x", "").rstrip("%")) for mark in marks]
    down = [float(mark.get("y", "")) for mark in marks]
    assert across == sorted(across)
    assert down == sorted(down, reverse=True)


def test_a_hostile_label_stays_text() -> None:
    svg = str(throughput_plot((row(1, 1.0, 1.0, label="<script>"),), title="<b>"))
    assert "<script>" not in svg
    assert "<b>" not in svg


def test_nothing_measured_is_no_plot() -> None:
    assert str(throughput_plot((), title="cpu")) == ""


def test_what_is_recommended_stands_under_the_plot(passed_cnn: Evidence) -> None:
    sweep = SweepReport(
        precision="int8-static",
        settings=SessionSettings(intra_op_threads=1),
        batches=ROWS,
        best_batch_size=2,
        largest_within_slo=4,
    )
    (suite,) = passed_cnn.suites
    swept = suite.model_copy(update={"sweep": sweep})
    (panel,) = load_panels(passed_cnn.model_copy(update={"suites": (swept,)}))
    assert panel.notes == (
        "Recommended for int8-static: 1 thread, sequential execution, graph optimization all.",
        "Throughput saturates at batch size 2.",
        "Batch size 4 is the largest that keeps the p99 within the SLO at the asked arrival rate.",
    )
    assert load_panels(passed_cnn) == ()
    assert isinstance(swept, BenchmarkSuite)
