"""Marks stand where their numbers say."""

import math
import re
from collections.abc import Sequence

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from slipway.reporting import cells, plots
from slipway.reports import BenchmarkReport, Evidence, VariantReport


def rows_at(evidence: Evidence, batch_size: int) -> list[BenchmarkReport]:
    return [r for v in evidence.variants for r in v.benchmarks if r.batch_size == batch_size]


def marks(svg: str, kind: str) -> list[float]:
    return [float(x) for x in re.findall(rf'class="mark {kind}" x="([\d.]+)%"', svg)]


def ticks(svg: str) -> list[tuple[float, str]]:
    found = re.findall(r'class="tick" x="([\d.]+)%"[^>]*>([^<]+)<', svg)
    return [(float(x), label) for x, label in found]


def read_off(svg: str, x: float) -> float:
    """The value that a reader finds at x by the labels of a linear axis."""
    (x0, first), *_, (x1, last) = ticks(svg)
    low, high = float(first.split()[0]), float(last.split()[0])
    return low + (x - x0) / (x1 - x0) * (high - low)


positive = st.floats(min_value=1e-3, max_value=1e4)


@given(positive, positive, st.booleans())
def test_a_scale_keeps_order_and_stays_inside(a: float, b: float, logarithmic: bool) -> None:
    assume(abs(a - b) > 1e-6 * max(a, b))
    scale = plots.Scale(min(a, b), max(a, b), logarithmic=logarithmic)
    assert scale.position(min(a, b)) == 0
    assert math.isclose(scale.position(max(a, b)), 100)
    assert 0 < scale.position((a + b) / 2) < 100


@given(positive, st.floats(min_value=1.2, max_value=1e9))
def test_ticks_are_inside_ascending_and_few(low: float, factor: float) -> None:
    for logarithmic in (False, True):
        scale = plots.Scale(low, low * factor, logarithmic=logarithmic)
        found = scale.ticks()
        assert len(found) <= 6
        assert list(found) == sorted(set(found))
        assert all(low * 0.999 <= tick <= low * factor * 1.001 for tick in found)
        assert len(found) >= 2 or (logarithmic and factor < plots.LOG_FROM)


def test_a_mark_stands_where_the_axis_says(passed_cnn: Evidence) -> None:
    rows = rows_at(passed_cnn, 1)
    svg = plots.latency_plot(rows, title="latency")
    assert not plots.latency_scale(rows).logarithmic
    for name in cells.PERCENTILES:
        values = [cells.percentile(row, name).value_ms for row in rows]
        assert [read_off(svg, x) for x in marks(svg, name)] == pytest.approx(values, abs=1e-4)


def test_a_whisker_spans_the_confidence_interval(passed_cnn: Evidence) -> None:
    rows = rows_at(passed_cnn, 8)
    svg = plots.latency_plot(rows, title="latency")
    ends = re.findall(r'class="whisker" x1="([\d.]+)%" x2="([\d.]+)%"', svg)
    spans = sorted((read_off(svg, float(a)), read_off(svg, float(b))) for a, b in ends if a != b)
    wanted = sorted(
        (found.low_ms or 0.0, found.high_ms or 0.0)
        for row in rows
        for found in (row.p50, row.p95, row.p99)
    )
    assert len(spans) == len(wanted) == 12
    for span, want in zip(spans, wanted, strict=True):
        assert span == pytest.approx(want, abs=1e-3)


def test_the_dashed_line_is_the_p50_of_fp32(passed_cnn: Evidence) -> None:
    svg = plots.latency_plot(rows_at(passed_cnn, 1), title="latency")
    (x,) = re.findall(r'class="reference" x1="([\d.]+)%"', svg)
    assert read_off(svg, float(x)) == pytest.approx(0.7421, abs=1e-4)


def test_latencies_that_differ_widely_are_on_a_logarithmic_axis(failed_cnn: Evidence) -> None:
    rows = rows_at(failed_cnn, 1)
    svg = plots.latency_plot(rows, title="latency")
    assert "The logarithmic axis is milliseconds." in svg
    (x0, first), *_, (x1, last) = ticks(svg)
    step = (x1 - x0) / math.log(float(last) / float(first))
    read = [float(first) * math.exp((x - x0) / step) for x in marks(svg, "p50")]
    assert read == pytest.approx([0.74, 0.41], rel=1e-3)


def test_a_percentile_that_is_not_estimable_has_no_mark(failed_cnn: Evidence) -> None:
    svg = plots.latency_plot(rows_at(failed_cnn, 1), title="latency")
    assert len(marks(svg, "p50")) == 2
    assert marks(svg, "p99") == []
    assert "p99 not estimable (needs 662 queries)" in svg


def test_the_longest_bar_fills_the_width_and_the_others_are_in_proportion(
    passed_cnn: Evidence,
) -> None:
    svg = plots.size_plot(passed_cnn.variants)
    widths = [float(w) for w in re.findall(r'class="bar"[^>]* width="([\d.]+)%"', svg)]
    sizes = [v.model.size_bytes for v in passed_cnn.variants if v.model]
    assert widths == pytest.approx([100 * size / max(sizes) for size in sizes], abs=1e-3)


def test_a_variant_without_a_model_has_no_bar(tabular: Evidence) -> None:
    assert plots.size_plot(tabular.variants).count('class="bar"') == 1
    assert plots.size_plot(()).count('class="bar"') == 0


def metric_values(variants: Sequence[VariantReport]) -> list[float]:
    found = [cells.metric_of(v) for v in variants]
    return [m.value for m in found if m and m.value is not None]


def test_metric_marks_and_the_budget_stand_where_the_axis_says(passed_cnn: Evidence) -> None:
    svg = plots.metric_plot(passed_cnn)
    assert svg is not None
    read = [read_off(svg, x) / 100 for x in marks(svg, "p50")]
    assert read == pytest.approx(metric_values(passed_cnn.variants), abs=1e-5)
    (limit,) = re.findall(r'class="limit" x1="([\d.]+)%"', svg)
    assert read_off(svg, float(limit)) / 100 == pytest.approx(0.9833 - 0.01, abs=1e-5)


@pytest.mark.parametrize(("name", "starts_at_left"), [("accuracy", True), ("rmse", False)])
def test_the_worse_side_of_the_budget_is_shaded(
    passed_cnn: Evidence,
    name: str,
    starts_at_left: bool,
) -> None:
    variants = []
    for variant in passed_cnn.variants:
        assert variant.validation is not None
        assert variant.validation.metric is not None
        metric = variant.validation.metric.model_copy(update={"name": name})
        validation = variant.validation.model_copy(update={"metric": metric})
        variants.append(variant.model_copy(update={"validation": validation}))
    svg = plots.metric_plot(passed_cnn.model_copy(update={"variants": tuple(variants)}))
    assert svg is not None
    ((x, width),) = re.findall(r'class="beyond" x="([\d.]+)%" y="0" width="([\d.]+)%"', svg)
    if starts_at_left:
        assert float(x) == 0
    else:
        assert float(x) + float(width) == pytest.approx(100)


def test_without_a_metric_there_is_no_metric_plot(minimal: Evidence) -> None:
    assert plots.metric_plot(minimal) is None


def test_one_value_alone_still_has_an_axis(tabular: Evidence) -> None:
    svg = plots.metric_plot(tabular)
    assert svg is not None
    assert len(marks(svg, "p50")) == 1
    assert len(ticks(svg)) >= 2


def test_rows_without_any_estimate_make_an_empty_plot(passed_cnn: Evidence) -> None:
    row = rows_at(passed_cnn, 1)[0]
    nothing = row.p50.model_copy(update={"value_ms": None, "low_ms": None, "high_ms": None})
    blank = row.model_copy(update={"p50": nothing, "p95": nothing, "p99": nothing})
    assert 'class="mark' not in plots.latency_plot([blank], title="latency")


def test_every_plot_has_a_title_and_a_description(passed_cnn: Evidence) -> None:
    metric = plots.metric_plot(passed_cnn)
    assert metric is not None
    for svg in (
        plots.latency_plot(rows_at(passed_cnn, 1), title="latency"),
        plots.size_plot(passed_cnn.variants),
        metric,
    ):
        assert re.match(
            r'<svg class="plot" role="img"[^>]*><title>.+?</title><desc>.+?</desc>', svg
        )
