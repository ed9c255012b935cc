"""Laws of parity's arithmetic."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis.extra import numpy as hnp

from slipway.reports import OutputParity
from slipway.samples.arrays import Array
from slipway.specs import Tolerance
from slipway.validation.comparing import Difference, measure, merge, merge_all
from slipway.validation.parity import compare

ZERO = Tolerance(rtol=0, atol=0)
NORMAL = Tolerance()

shapes = hnp.array_shapes(min_dims=1, max_dims=3, max_side=6)


def floats(shape: Any = shapes, *, dtype: Any = np.float32) -> st.SearchStrategy[Array]:
    numbers = st.floats(-1e6, 1e6, width=16 if dtype == np.float16 else 32).filter(
        lambda x: x == 0 or abs(x) > 1e-6
    )
    if dtype == np.float16:
        numbers = st.floats(-6e4, 6e4, width=16)
    return hnp.arrays(dtype, shape, elements=numbers)


pairs = shapes.flatmap(lambda shape: st.tuples(floats(shape), floats(shape)))


def only(expected: Array, actual: Array, tolerance: Tolerance = NORMAL) -> OutputParity:
    (found,) = compare({"y": expected}, {"y": actual}, tolerance)
    return found


@given(floats())
def test_an_array_equals_itself_at_no_tolerance(x: Array) -> None:
    found = only(x, x, ZERO)
    assert found.passed
    assert (found.max_abs_error, found.max_rel_error, found.relative_l2) == (0, 0, 0)
    assert found.cosine == pytest.approx(1)
    assert found.smallest_tolerance == 0
    assert found.label_agreement in {None, 1}


@given(pairs)
def test_the_verdict_is_that_of_numpy(pair: tuple[Array, Array]) -> None:
    expected, actual = (side.astype(np.float64) for side in pair)
    tolerance = Tolerance(rtol=0.5, atol=0.25)
    assert only(expected, actual, tolerance).passed == bool(
        np.all(np.abs(actual - expected) <= 0.25 + 0.5 * np.abs(expected))
    )


@given(pairs)
def test_the_smallest_tolerance_passes_and_a_smaller_one_does_not(
    pair: tuple[Array, Array],
) -> None:
    expected, actual = pair
    t = only(expected, actual).smallest_tolerance
    assert t is not None
    assume(t > 1e-12)
    assert only(expected, actual, Tolerance(rtol=t, atol=t / 10)).passed
    less = t * 0.999
    assert not only(expected, actual, Tolerance(rtol=less, atol=less / 10)).passed


@given(pairs)
def test_errors_are_symmetric_and_both_ways_find_the_same_place(
    pair: tuple[Array, Array],
) -> None:
    there, back = only(*pair, ZERO), only(pair[1], pair[0], ZERO)
    assert there.max_abs_error == back.max_abs_error
    assert there.worst_index == back.worst_index
    assert (there.expected, there.actual) == (back.actual, back.expected)
    assert there.cosine == pytest.approx(back.cosine)


@given(pairs, st.integers(-8, 8))
def test_relative_numbers_do_not_change_with_scale(pair: tuple[Array, Array], power: int) -> None:
    expected, actual = (side.astype(np.float64) for side in pair)
    scale = 2.0**power  # exact, so that the laws are
    plain, scaled = only(expected, actual), only(expected * scale, actual * scale)
    assert scaled.max_abs_error == pytest.approx((plain.max_abs_error or 0) * scale)
    assert scaled.max_rel_error == pytest.approx(plain.max_rel_error)
    assert scaled.relative_l2 == pytest.approx(plain.relative_l2)
    assert scaled.cosine == pytest.approx(plain.cosine)
    assert scaled.label_agreement == plain.label_agreement


@given(floats(), st.data())
def test_a_single_wrong_value_is_found_where_it_is(x: Array, data: st.DataObject) -> None:
    index = tuple(data.draw(st.integers(0, size - 1)) for size in x.shape)
    wrong = x.astype(np.float64)
    wrong[index] += 1 + abs(wrong[index])
    found = only(x.astype(np.float64), wrong)
    assert not found.passed
    assert found.worst_index == index
    assert found.expected == pytest.approx(float(x[index]))
    assert found.actual == pytest.approx(float(wrong[index]))


@given(pairs)
def test_half_precision_is_compared_in_double(pair: tuple[Array, Array]) -> None:
    expected, actual = (np.clip(side, -6e4, 6e4).astype(np.float16) for side in pair)
    found = only(expected, actual)
    wide = only(expected.astype(np.float64), actual.astype(np.float64))
    assert found == wide


@given(pairs, pairs, pairs)
def test_merging_is_associative_with_a_neutral_element(
    a: tuple[Array, Array], b: tuple[Array, Array], c: tuple[Array, Array]
) -> None:
    x, y, z = (measure(*pair, tolerance=NORMAL, case=case) for case, pair in enumerate((a, b, c)))
    left, right = merge(merge(x, y), z), merge(x, merge(y, z))
    assert left.worst == right.worst
    assert (left.max_abs, left.smallest_t, left.count) == (
        right.max_abs,
        right.smallest_t,
        right.count,
    )
    assert left.error_squares == pytest.approx(right.error_squares)
    assert merge(x, Difference()) == merge(Difference(), x) == x


@given(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=8).flatmap(
        lambda shape: st.tuples(floats(shape), floats(shape), st.integers(1, shape[0] - 1))
    )
)
def test_two_cases_together_are_one_case_of_all_rows(
    given_: tuple[Array, Array, int],
) -> None:
    expected, actual, cut = given_
    whole = measure(expected, actual, tolerance=NORMAL)
    parts = merge_all(
        [
            measure(expected[:cut], actual[:cut], tolerance=NORMAL, case=0),
            measure(expected[cut:], actual[cut:], tolerance=NORMAL, case=1),
        ]
    )
    assert (parts.max_abs, parts.max_rel) == (whole.max_abs, whole.max_rel)
    assert parts.label_agreement == whole.label_agreement
    assert parts.relative_l2 == pytest.approx(whole.relative_l2)
    assert parts.cosine == pytest.approx(whole.cosine)


class TestWhatCannotBeCompared:
    def test_another_shape_fails_with_both_shapes(self) -> None:
        found = only(np.zeros((2, 3)), np.zeros((2, 4)))
        assert not found.passed
        assert found.max_abs_error is None
        assert found.reason == "its shape is [2, 4], the source gave [2, 3]"

    def test_broadcasting_does_not_hide_a_shape(self) -> None:
        assert not only(np.zeros((2, 1)), np.zeros((2,))).passed

    def test_text_against_numbers_fails(self) -> None:
        found = only(np.array(["a"]), np.array([1]))
        assert found.reason == "it is int64, the source gave string"

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_value_that_is_not_finite_where_the_source_is_fails(self, bad: float) -> None:
        found = only(np.zeros(3), np.array([0, bad, 0]), Tolerance(rtol=1e9, atol=1e9))
        assert not found.passed
        assert found.max_abs_error is None
        assert "the first at [1]" in str(found.reason)

    def test_a_finite_value_where_the_source_is_not_fails(self) -> None:
        assert not only(np.array([np.nan]), np.array([1.0])).passed
        assert not only(np.array([np.inf]), np.array([-np.inf])).passed

    def test_the_same_nan_and_infinities_agree(self) -> None:
        x = np.array([1.0, np.nan, np.inf, -np.inf])
        found = only(x, x.copy(), ZERO)
        assert found.passed
        assert found.max_abs_error == 0

    def test_nothing_to_compare_does_not_pass(self) -> None:
        assert not only(np.zeros((0, 3)), np.zeros((0, 3))).passed

    def test_outputs_of_one_side_alone_fail(self) -> None:
        one = np.zeros(1)
        found = {o.output: o for o in compare({"a": one, "b": one}, {"b": one, "c": one}, NORMAL)}
        assert [found[name].passed for name in "abc"] == [False, True, False]
        assert found["a"].reason == "the model gives no such output; it gives b, c"
        assert found["c"].reason == "the source has no such output; it has a, b"


class TestLabels:
    def test_text_labels_are_compared_exactly(self) -> None:
        expected, actual = np.array(["cat", "dog"]), np.array(["cat", "cow"], dtype=object)
        (found,) = compare({"y": expected}, {"y": actual}, NORMAL, label_agreement=0.6)
        assert not found.passed
        assert (found.label_agreement, found.worst_index) == (0.5, (1,))
        assert (found.expected, found.actual) == ("dog", "cow")
        assert "1 of 2 labels differ" in str(found.reason)

    def test_a_share_of_labels_may_differ(self) -> None:
        expected, actual = np.zeros(100, np.int64), np.zeros(100, np.int64)
        actual[7] = 3
        (found,) = compare({"y": expected}, {"y": actual}, ZERO, label_agreement=0.99)
        assert found.passed
        assert (found.label_agreement, found.max_abs_error) == (0.99, 3)
        assert found.smallest_tolerance is None

    def test_whole_numbers_given_as_floats_are_labels_too(self) -> None:
        assert only(np.array([0.0, 1.0]), np.array([0, 1])).passed
        assert not only(np.array([0.5, 1.0]), np.array([0, 1])).passed

    def test_class_scores_tell_how_many_rows_change_their_label(self) -> None:
        expected = np.array([[0.4, 0.6], [0.9, 0.1]])
        actual = np.array([[0.6, 0.4], [0.9, 0.1]])
        assert only(expected, actual).label_agreement == 0.5

    def test_one_column_has_no_labels(self) -> None:
        assert only(np.zeros((5, 1)), np.zeros((5, 1))).label_agreement is None


def test_zeros_that_become_something_have_no_relative_error() -> None:
    found = only(np.zeros(3), np.ones(3))
    assert (found.relative_l2, found.cosine, found.max_rel_error) == (None, 0, 0)


def test_sums_that_overflow_are_told_as_none() -> None:
    found = only(np.array([1e300, -1e300]), np.array([1e300, 1e300]))
    assert not found.passed
    assert found.cosine is None
