"""Numbers as people read them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.reporting import formatting as fmt
from slipway.reports import Estimate


def read(text: str) -> float:
    """The number that a reader takes from a text."""
    return float(text.replace(",", "").replace(fmt.MINUS, "-"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.41171, "0.412"),
        (0.021149, "0.0211"),
        (12.34, "12.3"),
        (9.996, "10.0"),
        (123.4, "123"),
        (1234.0, "1,230"),
        (0.0, "0"),
        (-0.5, f"{fmt.MINUS}0.500"),
    ],
)
def test_a_latency_has_three_significant_digits(value: float, shown: str) -> None:
    assert fmt.significant(value) == shown


@given(st.floats(min_value=1e-9, max_value=1e12))
def test_what_is_shown_is_within_half_a_unit_of_its_third_digit(value: float) -> None:
    assert math.isclose(read(fmt.significant(value)), value, rel_tol=0.00501)


@given(st.floats(min_value=1e-30, max_value=1e30))
def test_an_error_is_shown_within_its_second_digit(value: float) -> None:
    assert math.isclose(read(fmt.scientific(value)), value, rel_tol=0.0501)


@pytest.mark.parametrize(
    ("value", "shown"), [(1e-4, "1e-4"), (2.42e-6, "2.4e-6"), (0.0312, "0.031"), (0.01, "0.01")]
)
def test_an_error_is_written_as_a_spec_takes_it(value: float, shown: str) -> None:
    assert fmt.scientific(value) == shown
    assert math.isclose(float(shown), value, rel_tol=0.05)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_missing_or_non_finite_number_is_a_dash(missing: float | None) -> None:
    texts = [
        fmt.significant(missing),
        fmt.scientific(missing),
        fmt.milliseconds(missing),
        fmt.times(missing),
        fmt.percent(missing),
        fmt.cosine(missing),
        fmt.metric_value("rmse", missing),
        fmt.metric_change("accuracy", missing),
        fmt.interval(missing, 1.0),
        # A report itself holds None and never NaN or infinity.
        fmt.estimate(Estimate(value_ms=None, low_ms=None, high_ms=None)),
    ]
    assert texts == [fmt.DASH] * len(texts)


def test_an_estimate_without_an_interval_is_the_value_alone() -> None:
    assert fmt.estimate(Estimate(value_ms=0.5, low_ms=None, high_ms=None)) == "0.500 ms"
    assert fmt.estimate(Estimate(value_ms=0.5, low_ms=0.49, high_ms=0.52)) == (
        f"0.500 (0.490{fmt.DASH}0.520) ms"
    )


def test_an_interval_that_ends_just_above_one_does_not_seem_to_end_at_one() -> None:
    assert fmt.interval(0.988, 1.005) == f"0.988{fmt.DASH}1.005"


@given(st.floats(min_value=1e-3, max_value=1e5), st.floats(min_value=1, max_value=50))
def test_both_ends_of_an_interval_are_within_half_a_percent(low: float, factor: float) -> None:
    shown = [read(end) for end in fmt.interval(low, low * factor).split(fmt.DASH)]
    assert math.isclose(shown[0], low, rel_tol=0.00501)
    assert math.isclose(shown[1], low * factor, rel_tol=0.00501)


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [
        (None, fmt.DASH),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (63_508, "62.0 KiB"),
        (1024 * 1024 - 1, "1.00 MiB"),
        (10 * 1024**3, "10.0 GiB"),
        (2 * 1024**4, "2.00 TiB"),
    ],
)
def test_sizes_are_in_binary_units(size_bytes: int | None, shown: str) -> None:
    assert fmt.size(size_bytes) == shown


@pytest.mark.parametrize(
    ("factor", "shown"), [(1.041, "1.04"), (1.26, "1.26"), (1.801, "1.8"), (3.6, "3.6"), (12, "12")]
)
def test_factors_keep_the_digits_that_matter(factor: float, shown: str) -> None:
    assert fmt.times(factor) == shown + fmt.TIMES


@given(st.floats(min_value=0, max_value=1))
def test_only_a_whole_share_is_all_or_nothing(share: float) -> None:
    shown = fmt.percent(share)
    if 1e-7 < share < 1 - 1e-7:
        assert 0 < read(shown.removesuffix(" %")) < 100
    if share in {0, 1}:
        assert shown == f"{share * 100:.0f} %"


def test_an_accuracy_falls_by_points() -> None:
    assert fmt.metric_change("accuracy", -0.0011) == f"{fmt.MINUS}0.1 points"
    assert fmt.metric_change("top5", 0.021) == "+2.1 points"


def test_a_small_fall_never_reads_as_zero() -> None:
    assert fmt.metric_change("accuracy", -0.0001) == f"{fmt.MINUS}0.01 points"


def test_other_metrics_change_in_their_own_unit() -> None:
    assert fmt.metric_change("rmse", 0.25) == "+0.25"
    assert fmt.metric_change("auc", -0.002) == f"{fmt.MINUS}2e-3"
    assert fmt.metric_change("r2", 0.0) == "unchanged"


def test_every_metric_has_a_name() -> None:
    from typing import get_args

    from slipway.specs import Metric

    assert set(fmt.METRIC_NAMES) == set(get_args(Metric))


def test_shapes_places_and_digests_are_short() -> None:
    assert fmt.shape(("batch", 1, None)) == "[batch, 1, ?]"
    assert fmt.place(1, (5, 3)) == "case 1 at [5, 3]"
    assert fmt.place(0, ()) == "case 0"
    assert fmt.short_digest("sha256:" + "ab" * 32) == "sha256:abababababab"
    assert fmt.count(1, "variant") == "1 variant"
    assert fmt.count(1200, "query", "queries") == "1,200 queries"
