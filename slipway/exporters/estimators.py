"""What a fitted scikit-learn estimator takes and answers, and which of them are refused.

Answers have the same names whatever the estimator; nothing is converted here.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, is_classifier, is_clusterer, is_outlier_detector
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction import DictVectorizer, FeatureHasher
from sklearn.feature_extraction.image import PatchExtractor
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from slipway.errors import ExportFailed
from slipway.protocols import ExportRequest
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array

_NOVELTY: Final = " (novelty=True makes it answer about new ones)"
_PRECOMPUTED: Final = (
    "takes distances or a kernel made elsewhere, from the rows that it was fitted on: fit it on "
    "the features themselves, with a metric or a kernel by name"
)
_REFUSED: Final[dict[tuple[type, ...], str]] = {
    (HashingVectorizer, FeatureHasher): "hashes words, which no operator of ONNX does: use "
    "TfidfVectorizer or CountVectorizer",
    (DictVectorizer,): "takes dicts, and ONNX takes tensors: fit a ColumnTransformer on a table",
    (LabelEncoder, LabelBinarizer, MultiLabelBinarizer): "encodes targets, which a model does not "
    "take: release the classifier, whose labels are the classes themselves",
    (PatchExtractor,): "answers more rows than it is given: cut images up before the model",
}


@dataclass(frozen=True)
class Source:
    """A fitted estimator and how it is called outside."""

    estimator: Any
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]
    by_column: bool

    def frame(self, feeds: Mapping[str, Array]) -> Any:  # noqa: ANN401 - a DataFrame or an array
        """The table that the estimator takes, from arrays by input name."""
        if not self.by_column:
            array = feeds[self.inputs[0].name]
            return array.ravel() if takes_text(self.estimator) else array
        return pd.DataFrame({tensor.name: feeds[tensor.name][:, 0] for tensor in self.inputs})

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The estimator's own answers, under the names and in the shapes of the ONNX outputs."""
        table = self.frame(feeds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = answers_of(self.estimator).values()
            return {
                name: _asked(call, table) for name, call in zip(self.outputs, answers, strict=True)
            }


def _asked(call: Callable[[Any], Array], table: Any) -> Array:  # noqa: ANN401
    """The answers; scikit-learn 1.9's KMeans and NMF take float64 alone if fitted on float64."""
    try:
        return call(table)
    except (TypeError, ValueError):
        if getattr(table, "dtype", None) != np.float32:
            raise
        return call(table.astype(np.float64))


def takes_columns(estimator: Any, request: ExportRequest) -> bool:  # noqa: ANN401
    """One input a column, for what was fitted on a table with named columns."""
    names = feature_names(estimator)
    if names is None:
        return False
    return not request.inputs or set(request.inputs) == set(names)


def feature_names(estimator: Any) -> list[str] | None:  # noqa: ANN401
    """The columns of the table that it was fitted on; None when that had no names."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def check_estimator(estimator: Any, name: str) -> None:  # noqa: ANN401
    """Refuse what converts without an error and answers otherwise."""
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ExportFailed(
            f"{name} holds a {type(estimator).__name__} that is not fitted; fit it before saving it"
        ) from error
    if not answers_of(estimator):
        raise ExportFailed(
            f"{name}: {type(estimator).__name__} answers about the rows that it was fitted on and "
            f"about no others{_NOVELTY if hasattr(estimator, 'novelty') else ''}: fit a classifier "
            "or a regressor to its answers, and release that"
        )
    for part in parts_of(estimator):
        if reason := _objection(part):
            raise ExportFailed(f"{name}: {type(part).__name__} {reason}")
        if isinstance(part, TunedThresholdClassifierCV | FixedThresholdClassifier):
            raise ExportFailed(
                f"{name}: skl2onnx leaves the threshold of {type(part).__name__} out, so that "
                "labels would differ; save its estimator_ and apply the threshold to the "
                "probabilities"
            )


def parts_of(estimator: Any) -> Iterator[Any]:  # noqa: ANN401
    """An estimator and whatever fitted estimators pipelines and column transformers hold."""
    yield estimator
    if isinstance(estimator, Pipeline | FeatureUnion | ColumnTransformer):
        named = getattr(estimator, "transformers_", None) or [
            *getattr(estimator, "steps", ()),
            *getattr(estimator, "transformer_list", ()),
        ]
        for _, part, *_ in named:
            if isinstance(part, BaseEstimator):
                yield from parts_of(part)


def _objection(part: Any) -> str:  # noqa: ANN401
    """Why a part cannot be exported, whoever converts it; empty where it may be."""
    for classes, reason in _REFUSED.items():
        if isinstance(part, classes):
            return reason
    if "precomputed" in {getattr(part, name, None) for name in ("metric", "kernel", "affinity")}:
        return _PRECOMPUTED
    return ""


def takes_text(estimator: Any) -> bool:  # noqa: ANN401
    """Whether the first step takes texts, one dimension of them, and no table."""
    first = first_step(estimator)
    if isinstance(first, FeatureUnion):
        return any(takes_text(part) for _, part in first.transformer_list)
    return isinstance(first, CountVectorizer)


def first_step(estimator: Any) -> Any:  # noqa: ANN401
    """What a pipeline hands its input to."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[0][1]
    return estimator


def final_step(estimator: Any) -> Any:  # noqa: ANN401
    """What a pipeline answers with."""
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return estimator


def answers_of(estimator: Any) -> dict[str, Callable[[Any], Array]]:  # noqa: ANN401
    """What an estimator answers about new rows, in the order of skl2onnx's outputs."""
    if hasattr(estimator, "predict"):
        return _predictions(estimator)
    if hasattr(estimator, "transform"):
        return {"features": lambda table: _matrix(estimator.transform(table), len(table))}
    return {}


def _predictions(estimator: Any) -> dict[str, Callable[[Any], Array]]:  # noqa: ANN401
    labels = {"label": lambda table: _labels(estimator.predict(table))}
    if is_outlier_detector(estimator):
        return {
            "label": lambda table: _labels(estimator.predict(table))[:, np.newaxis],
            "scores": lambda table: _floats(estimator.decision_function(table))[:, np.newaxis],
        }
    if is_clusterer(estimator):
        return labels
    if is_classifier(estimator) or get_tags(estimator).estimator_type == "density_estimator":
        if not hasattr(estimator, "predict_proba") or has_several_targets(estimator):
            return labels
        return {**labels, "probabilities": lambda table: _floats(estimator.predict_proba(table))}
    return {"prediction": lambda table: _matrix(estimator.predict(table), len(table))}


def has_several_targets(estimator: Any) -> bool:  # noqa: ANN401
    """Whether it is a classifier of more than one label a row."""
    return is_classifier(estimator) and isinstance(getattr(estimator, "classes_", None), list)


def _labels(values: Any) -> Array:  # noqa: ANN401
    array = np.asarray(values)
    if array.dtype.kind in "OUS":
        return array.astype(str)
    return array.astype(np.int64)


def _floats(values: Any) -> Array:  # noqa: ANN401
    return np.asarray(values).astype(np.float32)


def _matrix(values: Any, rows: int) -> Array:  # noqa: ANN401
    """A row of answers for each, though SparsePCA gives a vector for a single one."""
    dense = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    array = _floats(dense)
    return array.reshape(rows, -1) if array.ndim == 1 else array
