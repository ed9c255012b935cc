"""The frontier in the report: the plot's points, its words, and the page around it."""

import re
from xml.etree import ElementTree as ET

from slipway.reporting.frontier import frontier_plot, loss, loss_name
from slipway.reporting.html import render_report
from slipway.reports import Evidence, Frontier, FrontierPoint, Provenance
from slipway.specs import Precision


def point(label: str, precision: Precision, *cost: float | None, met: bool = True) -> FrontierPoint:
    lost, ratio, size = cost
    return FrontierPoint(
        label=label,
        precision=precision,
        loss=lost,
        latency_ratio=ratio,
        size_bytes=None if size is None else int(size),
        within_budget=met,
        efficient=met and ratio is not None,
    )


FRONTIER = Frontier(
    provider="cpu",
    measure="accuracy",
    points=(
        point("fp32", "fp32", 0.0, 1.0, 4e6),
        point("int8-static", "int8-static", 0.08, None, 1e6, met=False),
        point("int8-mixed", "int8-static", 0.004, 0.5, 2e6),
        point("int8-dynamic", "int8-dynamic", 0.03, 0.8, 1.1e6, met=False),
    ),
)


def parsed(frontier: Frontier) -> ET.Element:
    plot = frontier_plot(frontier)
    assert plot is not None
    return ET.fromstring(plot)  # noqa: S314 - our own plot


def test_every_measured_point_is_drawn_and_named() -> None:
    svg = parsed(FRONTIER)
    marks = [e for e in svg.iter("svg") if "mark" in e.get("class", "")]
    assert len(marks) == 3
    names = [e.text for e in svg.iter("text") if e.get("class") == "name"]
    assert names == ["fp32", "int8-mixed", "int8-dynamic"]


def test_faster_is_further_left_and_more_accurate_further_up() -> None:
    marks = [e for e in parsed(FRONTIER).iter("svg") if "mark" in e.get("class", "")]
    fp32, mixed, dynamic = (
        (float(e.get("x", "").rstrip("%")), float(e.get("y", ""))) for e in marks
    )
    assert mixed[0] < dynamic[0] < fp32[0]
    assert fp32[1] < mixed[1] < dynamic[1]


def test_the_line_joins_what_nothing_beats() -> None:
    lines = [e for e in parsed(FRONTIER).iter("line") if e.get("class") == "reference"]
    assert len(lines) == 1


def test_without_latencies_the_plot_is_of_sizes() -> None:
    sizes = FRONTIER.model_copy(update={"provider": None})
    svg = parsed(sizes)
    assert svg.findtext("title") == "Accuracy and size"
    assert len([e for e in svg.iter("svg") if "mark" in e.get("class", "")]) == 4


def test_a_single_point_is_no_plot() -> None:
    assert frontier_plot(FRONTIER.model_copy(update={"points": FRONTIER.points[:1]})) is None


def test_losses_are_told_in_the_metrics_unit() -> None:
    assert loss(FRONTIER, FRONTIER.points[2]) == "0.40 points"
    errors = FRONTIER.model_copy(update={"measure": "rmse"})
    assert loss_name(errors).startswith("rise of")
    assert loss_name(FRONTIER.model_copy(update={"measure": "relative_l2"})) == "relative L2 error"


def test_the_page_holds_the_plot_and_all_points(
    passed_cnn: Evidence, provenance: Provenance
) -> None:
    evidence = passed_cnn.model_copy(update={"frontiers": (FRONTIER,)})
    page = render_report(evidence, provenance=provenance)
    assert "Accuracy against latency on cpu" in page
    table = page[page.index("Beaten by none") :]
    assert re.findall(r"</span>(int8-mixed|int8-static|fp32)</th>", table[:4000])
    assert "not measured" in table


def test_hostile_labels_stay_text(passed_cnn: Evidence, provenance: Provenance) -> None:
    hostile = point("<script>", "fp16", 0.1, 0.9, 1e6)
    points = (*FRONTIER.points, hostile)
    evidence = passed_cnn.model_copy(
        update={"frontiers": (FRONTIER.model_copy(update={"points": points}),)}
    )
    page = render_report(evidence, provenance=provenance)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
