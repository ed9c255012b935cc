"""The table in a terminal fits it."""

import io

import pytest
from rich.console import Console

from slipway.reporting import formatting as fmt
from slipway.reporting.terminal import print_variants, variants_renderable
from slipway.reports import BenchmarkSuite, Evidence


def printed(evidence: Evidence, width: int) -> str:
    out = io.StringIO()
    print_variants(Console(file=out, width=width, force_terminal=False), evidence)
    return out.getvalue()


def also_on(evidence: Evidence, provider: str) -> Evidence:
    """The same, measured a second time."""
    variants = tuple(
        variant.model_copy(
            update={
                "benchmarks": (
                    *variant.benchmarks,
                    *(row.model_copy(update={"provider": provider}) for row in variant.benchmarks),
                )
            }
        )
        for variant in evidence.variants
    )
    return evidence.model_copy(update={"variants": variants})


@pytest.mark.parametrize("name", ["passed_cnn", "failed_cnn", "tabular", "minimal"])
@pytest.mark.parametrize("width", [120, 80])
def test_every_line_fits(name: str, width: int, request: pytest.FixtureRequest) -> None:
    text = printed(request.getfixturevalue(name), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\u2026" not in text


def test_a_wide_terminal_shows_every_interval(passed_cnn: Evidence) -> None:
    text = printed(passed_cnn, 120)
    assert f"0.409{fmt.DASH}0.416" in text
    assert f"0.549{fmt.DASH}0.562" in text
    assert f"1.8{fmt.TIMES} faster" in text
    assert "p95 ms" in text


def test_a_narrow_terminal_keeps_what_decides(passed_cnn: Evidence) -> None:
    text = printed(passed_cnn, 80)
    assert "p95 ms" not in text
    assert "0.561" in text
    assert f"{fmt.MINUS}0.1 points" in text
    assert f"0.409{fmt.DASH}0.416" not in text


def test_every_batch_size_has_its_lines(passed_cnn: Evidence) -> None:
    assert variants_renderable(passed_cnn).row_count == 8
    assert "batch" not in printed(passed_cnn.model_copy(update={"variants": ()}), 120)


@pytest.mark.parametrize("width", [120, 80])
def test_rows_of_several_providers_say_whose_they_are(passed_cnn: Evidence, width: int) -> None:
    text = printed(also_on(passed_cnn, "openvino"), width)
    assert "openvino" in text
    assert "batch 8" in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert "\u2026" not in text


def test_a_provider_that_was_missing_is_told_though_the_release_passed(
    passed_cnn: Evidence,
) -> None:
    missing = BenchmarkSuite(
        provider="cuda", status="missing environment", reason="it needs an NVIDIA GPU"
    )
    suites = (*passed_cnn.suites, missing)
    text = printed(passed_cnn.model_copy(update={"suites": suites}), 120)
    assert "cuda: missing environment: it needs an NVIDIA GPU." in text


def test_reasons_and_missing_percentiles_are_told(failed_cnn: Evidence) -> None:
    text = printed(failed_cnn, 120)
    assert "digits-cnn: failed" in text
    assert "fp16 was skipped: a weight of 81,204" in text
    assert "p99: not estimable (needs 662 queries)" in text
    assert "other load disturbed the measurement" in text


def test_brackets_in_a_name_are_not_console_markup(minimal: Evidence) -> None:
    text = printed(minimal.model_copy(update={"name": "[bold]net[/] [link=x]y[/link]"}), 120)
    assert "[bold]net[/] [link=x]y[/link]: passed" in text
