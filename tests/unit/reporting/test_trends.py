"""The page of trends, and how a regression run reads."""

from slipway.reporting.regression import headline, models_table, nightly_markdown, verdict
from slipway.reporting.trends import figure_text, line_plot, render_trends
from slipway.reports import Drift, NightlyReport, RegressionReport, SeriesPoint, ToolChange

SLOW = RegressionReport(
    name="<b>net</b>",
    version=3,
    passed=False,
    drifts=(Drift(kind="latency", place="fp32", regressed=True, sentence="fp32 is <slower>"),),
    changed_tools=(ToolChange(tool="onnxruntime", before="1.30", after="1.31"),),
    cause="onnxruntime 1.30 became 1.31",
)
SAME = RegressionReport(name="same", version=1, passed=True)
BOTH = NightlyReport(passed=False, models=(SLOW, SAME))


def points(*values: float) -> list[SeriesPoint]:
    return [
        SeriesPoint(at_s=86400.0 * day, measures={"fp32/accuracy": value})
        for day, value in enumerate(values)
    ]


def test_the_page_tells_each_model_and_plots_each_figure() -> None:
    page = render_trends(BOTH, {"same": points(0.5, 0.75)})
    assert "1 of 2 models regressed" in page
    assert "onnxruntime 1.30 became 1.31" in page
    assert "same version 1: unchanged" in page
    assert page.count("<svg") == 1
    assert page == render_trends(BOTH, {"same": points(0.5, 0.75)})


def test_hostile_names_stay_text() -> None:
    page = render_trends(BOTH, {})
    assert "<b>net</b>" not in page
    assert "fp32 is &lt;slower&gt;" in page
    assert "<slower>" not in nightly_markdown(BOTH)


def test_a_plot_has_a_dot_a_night_and_says_each() -> None:
    plot = line_plot("fp32/accuracy", [(0.0, 0.5), (86400.0, 0.75), (172800.0, 0.25)])
    assert plot.count("<circle") == 3
    assert plot.count('class="trend"') == 2
    assert "1970-01-02: 0.7500" in plot


def test_one_night_or_equal_values_can_be_plotted() -> None:
    assert line_plot("x", [(0.0, 1.0)]).count("<circle") == 1
    assert line_plot("x", [(0.0, 0.0), (1.0, 0.0)]).count("<circle") == 2


def test_figures_are_written_as_their_names_ask() -> None:
    assert figure_text("fp32/size_bytes", 2048.0) == "2.00 KiB"
    assert figure_text("fp32/cpu/batch_1/p50_ms", 0.5) == "0.500 ms"
    assert figure_text("fp32/max_abs_error", 2.5e-6) == "2.5e-6"


def test_the_table_puts_the_verdict_before_what_it_rests_on() -> None:
    slow, same = models_table(BOTH)
    assert list(slow)[:2] == ["model", "verdict"]
    assert (slow["verdict"], same["verdict"]) == ("regressed", "unchanged")
    assert slow["changed since"] == "onnxruntime 1.30 \u2192 1.31"


def test_headlines() -> None:
    drifted = SAME.model_copy(
        update={"drifts": (Drift(kind="digest", place="fp32", regressed=False, sentence="x"),)}
    )
    assert verdict(drifted) == "drifted"
    assert "none regressed" in headline(NightlyReport(passed=True, models=(SAME, drifted)))
    assert "nothing to compare" in headline(NightlyReport(passed=True, models=()))
