"""The task metrics, in numpy: a model's outputs and true labels in, one number out.

Each equals scikit-learn's of that name (tests compare them); scikit-learn is never imported.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.errors import DataError
from slipway.samples.arrays import Array, Arrays
from slipway.specs import Metric

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

TOP: Final = 5


def compute_metric(
    name: Metric, *, outputs: Arrays, labels: Array, output: str | None = None
) -> float:
    """The metric of outputs against labels, rows first.

    Reads the output named, or the one that fits: for `accuracy` and `f1` an output of labels where
    there is one, since a classifier's threshold need not be at its largest score; otherwise, and
    for `auc` and `top5`, class scores `[n, classes]` or one score a row; for `rmse`, `mae`, `r2`
    and `cosine` numbers of the labels' shape. Labels of class scores are column numbers from 0, or
    whatever an output of labels says in sorted order. Single scores count as class 1 from 0.5 on
    where all lie within 0 and 1, and from 0 on (logits) otherwise.

    NaN where a score is NaN.

    Raises:
        DataError: when labels do not fit the outputs, or no output fits the metric.
    """
    if len(labels) == 0:
        raise DataError(f"{name} needs labelled rows; there are none")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError("the labels hold NaN or infinite values; clean the evaluation data")
    return float(_METRICS[name](_Task(name, outputs, _flat(labels), output)))


@dataclass(frozen=True)
class _Task:
    name: Metric
    outputs: Arrays
    labels: Array
    output: str | None

    def candidates(self, *, kinds: str) -> dict[str, Array]:
        """Outputs of these numpy kinds with a row for each label; only the named one, if any."""
        if self.output is not None:
            if self.output not in self.outputs:
                raise DataError(
                    f"the model has no output {self.output!r} for {self.name}; it has "
                    f"{', '.join(self.outputs)}"
                )
            named = {self.output: self.outputs[self.output]}
        else:
            named = dict(self.outputs)
        return {
            key: _flat(array)
            for key, array in named.items()
            if array.dtype.kind in kinds and array.ndim and len(array) == len(self.labels)
        }

    def label_output(self) -> Array | None:
        """An output that holds one label a row."""
        found = [array for array in self.candidates(kinds="iubUSO").values() if array.ndim == 1]
        return found[0] if found else None

    def scores(self) -> Floats:
        """Class scores `[n, classes]`, or one score a row `[n]`."""
        found = list(self.candidates(kinds="f").values())
        wide = [array for array in found if array.ndim == 2]  # noqa: PLR2004 - rows of scores
        for array in wide or [array for array in found if array.ndim == 1]:
            return array.astype(np.float64)
        raise self.no_output("class scores [n, classes] or one score a row")

    def no_output(self, wanted: str) -> DataError:
        """The error for outputs of which none fits."""
        given = ", ".join(
            f"{key} {array.dtype}{list(array.shape)}" for key, array in self.outputs.items()
        )
        return DataError(
            f"{self.name} needs {wanted} for {len(self.labels)} labels; the model gives {given}"
        )

    def columns(self, classes: int) -> Indices:
        """The column of class scores that each label stands for."""
        known = self.class_order(classes)
        if known is not None:
            return np.searchsorted(known, self.labels).astype(np.int64)
        if self.labels.dtype.kind in "USO":
            raise DataError(
                f"labels are strings such as {str(self.labels[0])!r}, and the model scores "
                f"classes by number; give labels from 0 to {classes - 1}"
            )
        labels = _whole(self.labels)
        if labels.min() < 0 or labels.max() >= classes:
            raise DataError(
                f"labels run from {labels.min()} to {labels.max()}, the model scores classes "
                f"0 to {classes - 1}"
            )
        return labels

    def class_order(self, classes: int) -> Array | None:
        """The classes in sorted order, where an output of labels tells all of them."""
        told = next((a for a in self.outputs.values() if a.dtype.kind in "iubUSO" and a.size), None)
        if told is None or _is_text(told) != _is_text(self.labels):
            return None
        known = np.unique(np.concatenate([_comparable(told).ravel(), _comparable(self.labels)]))
        return known if len(known) == classes else None


def _flat(array: Array) -> Array:
    """A column `[n, 1]` as `[n]`."""
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array  # noqa: PLR2004


def _is_text(array: Array) -> bool:
    return array.dtype.kind in "USO"


def _comparable(array: Array) -> Array:
    return array.astype(str) if _is_text(array) else array


def _whole(labels: Array) -> Indices:
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise DataError("labels are fractions; this metric needs class labels")
    return labels.astype(np.int64)


def _labels_and_predictions(task: _Task) -> tuple[Array, Array]:
    if task.labels.ndim != 1:
        raise DataError(f"{task.name} needs one label a row, not {list(task.labels.shape)}")
    predicted = task.label_output()
    if predicted is not None:
        if _is_text(predicted) != _is_text(task.labels):
            raise DataError(
                f"labels are {task.labels.dtype}, the model's labels are "
                f"{'strings' if _is_text(predicted) else predicted.dtype}; give labels as the "
                "model does"
            )
        return _comparable(task.labels), _comparable(predicted)
    scores = task.scores()
    if np.isnan(scores).any():
        return np.zeros(0), np.zeros(0)
    if scores.ndim == 1:
        probabilities = scores.min() >= 0 and scores.max() <= 1
        return task.columns(2), (scores >= (0.5 if probabilities else 0.0)).astype(np.int64)
    return task.columns(scores.shape[1]), scores.argmax(axis=1)


def _accuracy(task: _Task) -> float:
    labels, predicted = _labels_and_predictions(task)
    return float(np.mean(labels == predicted)) if len(labels) else float("nan")


def _f1(task: _Task) -> float:
    """Unweighted mean over classes of 2 TP / (2 TP + FP + FN), classes of either side."""
    labels, predicted = _labels_and_predictions(task)
    if not len(labels):
        return float("nan")
    classes, codes = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    true, guess = codes[: len(labels)], codes[len(labels) :]
    hits = np.bincount(true[true == guess], minlength=len(classes))
    total = np.bincount(true, minlength=len(classes)) + np.bincount(guess, minlength=len(classes))
    return float(np.mean(2 * hits / total))


def _auc(task: _Task) -> float:
    """Area under the ROC curve; over several classes the mean of one against the rest."""
    scores = task.scores()
    if np.isnan(scores).any():
        return float("nan")
    classes = 2 if scores.ndim == 1 else scores.shape[1]
    labels = task.columns(classes)
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if len(absent):
        raise DataError(f"auc needs rows of every class; class {absent[0]} has none")
    if classes == 2:  # noqa: PLR2004 - one curve
        return _area(labels == 1, scores if scores.ndim == 1 else scores[:, 1])
    return float(np.mean([_area(labels == c, scores[:, c]) for c in range(classes)]))


def _area(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Mann-Whitney U over its maximum, ties at their mean rank."""
    _, codes, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    positives = int(positive.sum())
    wins = mean_ranks[codes][positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * (len(scores) - positives)))


def _top5(task: _Task) -> float:
    """Share of rows whose label is among the five largest scores; of ties the last column wins."""
    scores = task.scores()
    if np.isnan(scores).any():
        return float("nan")
    if scores.ndim == 1:
        raise task.no_output("class scores [n, classes]")
    labels = task.columns(scores.shape[1])[:, np.newaxis]
    own = np.take_along_axis(scores, labels, axis=1)
    later = np.arange(scores.shape[1]) > labels
    rank = ((scores > own) | ((scores == own) & later)).sum(axis=1)
    return float(np.mean(rank < TOP))


def _values(task: _Task) -> tuple[Floats, Floats]:
    """Labels and the output of their shape, as numbers."""
    if task.labels.dtype.kind not in "iufb":
        raise DataError(f"{task.name} needs numbers as labels, not {task.labels.dtype}")
    for array in task.candidates(kinds="fiu").values():
        if array.shape == task.labels.shape:
            return task.labels.astype(np.float64), array.astype(np.float64)
    raise task.no_output(f"numbers of shape {list(task.labels.shape)}")


def _rmse(task: _Task) -> float:
    """Root of the mean squared error, averaged over targets."""
    labels, predicted = _values(task)
    return float(np.mean(np.sqrt(np.mean((labels - predicted) ** 2, axis=0))))


def _mae(task: _Task) -> float:
    labels, predicted = _values(task)
    return float(np.mean(np.abs(labels - predicted)))


def _r2(task: _Task) -> float:
    """1 - residual / total sum of squares, averaged over targets; 0 where labels are constant."""
    labels, predicted = _values(task)
    if len(labels) < 2:  # noqa: PLR2004 - one point has no variance
        raise DataError("r2 needs two rows at least")
    residual = np.atleast_1d(((labels - predicted) ** 2).sum(axis=0))
    total = np.atleast_1d(((labels - labels.mean(axis=0)) ** 2).sum(axis=0))
    constant = np.where(residual == 0, 1.0, np.where(np.isnan(residual), np.nan, 0.0))
    share = np.divide(residual, total, out=np.zeros_like(residual), where=total > 0)
    return float(np.mean(np.where(total > 0, 1 - share, constant)))


def _cosine(task: _Task) -> float:
    """Mean over rows of the cosine similarity; 0 for a row of zeros."""
    labels, predicted = _values(task)
    left, right = labels.reshape(len(labels), -1), predicted.reshape(len(labels), -1)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    dots = (left * right).sum(axis=1)
    return float(np.mean(np.divide(dots, norms, out=np.zeros_like(dots), where=norms != 0)))


_METRICS: Final[dict[Metric, Callable[[_Task], float]]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "auc": _auc,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
    "cosine": _cosine,
    "top5": _top5,
}
