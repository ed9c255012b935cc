"""Every metric equals scikit-learn's, and labels that do not fit are refused with a way out."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn import metrics

from slipway.errors import DataError
from slipway.samples.arrays import Array, Arrays
from slipway.specs import Metric
from slipway.validation.metrics import compute_metric

seeds = st.integers(0, 2**32 - 1)


def classification(seed: int, *, classes: int, rows: int = 40) -> tuple[Array, Array]:
    """Scores with ties, and labels of every class."""
    draw = np.random.default_rng(seed)
    scores = draw.integers(0, 6, size=(rows, classes)).astype(np.float64) + 1
    labels = draw.permutation(np.resize(np.arange(classes), rows))
    return scores / scores.sum(axis=1, keepdims=True), labels


def metric(name: Metric, outputs: Arrays, labels: Array, output: str | None = None) -> float:
    return compute_metric(name, outputs=outputs, labels=labels, output=output)


@given(seeds, st.integers(2, 7))
def test_accuracy_and_f1_of_scores_equal_scikit_learns(seed: int, classes: int) -> None:
    scores, labels = classification(seed, classes=classes)
    guess = scores.argmax(axis=1)
    assert metric("accuracy", {"p": scores}, labels) == metrics.accuracy_score(labels, guess)
    assert metric("f1", {"p": scores}, labels) == pytest.approx(
        metrics.f1_score(labels, guess, average="macro", zero_division=0)
    )


@given(seeds, st.sampled_from(["int", "text"]))
def test_f1_of_labels_equals_scikit_learns(seed: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    labels, guess = draw.integers(0, 5, size=(2, 30))
    if kind == "text":
        labels, guess = labels.astype(str), guess.astype(str).astype(object)
    expected = metrics.f1_score(labels, guess.astype(labels.dtype), average="macro")
    assert metric("f1", {"label": guess}, labels) == pytest.approx(expected)


@given(seeds)
def test_auc_of_two_classes_equals_scikit_learns(seed: int) -> None:
    scores, labels = classification(seed, classes=2)
    expected = metrics.roc_auc_score(labels, scores[:, 1])
    assert metric("auc", {"p": scores}, labels) == pytest.approx(expected)
    assert metric("auc", {"p": scores[:, 1]}, labels) == pytest.approx(expected)
    assert metric("auc", {"p": scores[:, 1:]}, labels[:, np.newaxis]) == pytest.approx(expected)


@given(seeds, st.integers(3, 6))
def test_auc_of_several_classes_equals_scikit_learns(seed: int, classes: int) -> None:
    scores, labels = classification(seed, classes=classes)
    expected = metrics.roc_auc_score(labels, scores, multi_class="ovr", average="macro")
    assert metric("auc", {"p": scores}, labels) == pytest.approx(expected)


@given(seeds, st.integers(6, 12))
def test_top5_equals_scikit_learns(seed: int, classes: int) -> None:
    scores, labels = classification(seed, classes=classes)
    expected = metrics.top_k_accuracy_score(labels, scores, k=5, labels=np.arange(classes))
    assert metric("top5", {"p": scores}, labels) == pytest.approx(expected)


@given(seeds, st.sampled_from([(30,), (30, 1), (30, 3)]))
def test_regression_metrics_equal_scikit_learns(seed: int, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(seed)
    labels = draw.normal(size=shape)
    values = (labels + draw.normal(size=shape)).astype(np.float32)
    outputs = {"y": values}
    wide = values.astype(np.float64)
    assert metric("rmse", outputs, labels) == pytest.approx(
        metrics.root_mean_squared_error(labels, wide)
    )
    assert metric("mae", outputs, labels) == pytest.approx(
        metrics.mean_absolute_error(labels, wide)
    )
    assert metric("r2", outputs, labels) == pytest.approx(metrics.r2_score(labels, wide))


def test_r2_of_constant_labels_equals_scikit_learns() -> None:
    labels = np.ones(4)
    for values in (np.ones(4), np.arange(4.0)):
        assert metric("r2", {"y": values}, labels) == metrics.r2_score(labels, values)


def test_cosine_is_the_mean_over_rows() -> None:
    labels = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    values = np.array([[3.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert metric("cosine", {"e": values}, labels) == pytest.approx((1 - 1 + 0) / 3)


class TestWhichOutputIsRead:
    scores = np.array([[0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    labels = np.array([1, 0, 1])

    def test_labels_are_preferred_to_the_largest_score(self) -> None:
        tuned = {"label": np.array([1, 0, 1]), "probabilities": self.scores}
        assert metric("accuracy", tuned, self.labels) == 1
        assert metric("accuracy", {"p": self.scores}, self.labels) == pytest.approx(2 / 3)

    def test_a_named_output_is_read(self) -> None:
        both = {"label": np.array([1, 0, 1]), "probabilities": self.scores}
        value = metric("accuracy", both, self.labels, output="probabilities")
        assert value == pytest.approx(2 / 3)

    def test_a_name_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(DataError, match="no output 'q' for accuracy; it has p"):
            metric("accuracy", {"p": self.scores}, self.labels, output="q")

    def test_single_scores_are_probabilities_or_logits(self) -> None:
        assert metric("accuracy", {"p": np.array([0.6, 0.4, 0.9])}, self.labels) == 1
        assert metric("accuracy", {"p": np.array([0.3, -0.4, 2.9])}, self.labels) == 1

    def test_an_output_with_other_rows_is_not_read(self) -> None:
        outputs = {"hidden": np.zeros((7, 2)), "p": self.scores}
        assert metric("auc", outputs, self.labels) == 1

    def test_nothing_that_fits_lists_what_there_is(self) -> None:
        with pytest.raises(DataError, match=r"top5 needs class scores .* gives y float64\[3\]"):
            metric("top5", {"y": np.zeros(3)}, self.labels)
        with pytest.raises(DataError, match=r"numbers of shape \[3, 2\]"):
            metric("rmse", {"y": np.zeros(3)}, np.zeros((3, 2)))


class TestLabelsThatDoNotFit:
    scores = np.eye(3)

    def test_text_against_columns_says_what_to_give(self) -> None:
        with pytest.raises(DataError, match=r"labels are strings such as 'cat'.*from 0 to 2"):
            metric("accuracy", {"p": self.scores}, np.array(["cat", "dog", "cow"]))

    def test_text_with_an_output_of_text_is_read_in_sorted_order(self) -> None:
        labels = np.array(["b", "a", "c"])
        outputs = {"label": np.array(["a", "b", "c"], dtype=object), "p": self.scores}
        assert metric("top5", outputs, labels) == 1
        swapped = outputs | {"p": self.scores[[1, 0, 2]]}
        assert metric("auc", swapped, labels) == 1

    def test_labels_beyond_the_columns_are_refused(self) -> None:
        with pytest.raises(DataError, match="labels run from 1 to 3, the model scores classes 0"):
            metric("accuracy", {"p": self.scores}, np.array([1, 2, 3]))

    def test_text_against_number_labels_is_refused(self) -> None:
        with pytest.raises(DataError, match="give labels as the model does"):
            metric("accuracy", {"label": np.array([1, 2])}, np.array(["1", "2"]))

    def test_fractions_are_no_classes(self) -> None:
        with pytest.raises(DataError, match="fractions"):
            metric("accuracy", {"p": self.scores}, np.array([0.5, 1, 2]))

    def test_nan_labels_are_refused(self) -> None:
        with pytest.raises(DataError, match="NaN"):
            metric("rmse", {"y": np.zeros(2)}, np.array([np.nan, 1]))

    def test_text_labels_have_no_distance(self) -> None:
        with pytest.raises(DataError, match="needs numbers as labels"):
            metric("mae", {"y": np.zeros(2)}, np.array(["a", "b"]))

    def test_auc_needs_every_class(self) -> None:
        with pytest.raises(DataError, match="class 2 has none"):
            metric("auc", {"p": self.scores}, np.array([0, 1, 1]))

    def test_no_rows_are_refused(self) -> None:
        with pytest.raises(DataError, match="there are none"):
            metric("accuracy", {"p": np.zeros((0, 2))}, np.zeros(0, np.int64))


@pytest.mark.parametrize("name", ["accuracy", "f1", "auc", "top5"])
def test_a_score_of_nan_gives_nan_and_no_class(name: Metric) -> None:
    scores = np.array([[0.5, 0.5], [np.nan, 0.1]])
    assert np.isnan(metric(name, {"p": scores}, np.array([0, 1])))
