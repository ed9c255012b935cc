"""What is converted in place of an estimator: the same answers, without what only fitting needs.

skl2onnx 1.20 has no converter for these wrappers, or one that refuses what answers do not depend
on. Nothing is refitted, and the golden set comes from the estimator as given.
"""

import copy
from typing import Any

from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer
from sklearn.semi_supervised import SelfTrainingClassifier


def unwrapped(estimator: Any, *, answers: bool = True) -> Any:  # noqa: ANN401 - no types
    """The estimator to convert.

    Args:
        estimator: A fitted estimator; it is left as it is.
        answers: Whether the model answers with it, rather than handing on what it transforms.
    """
    if isinstance(estimator, FrozenEstimator):
        return unwrapped(estimator.estimator, answers=answers)
    if isinstance(estimator, BaseSearchCV):
        return unwrapped(estimator.best_estimator_, answers=answers)
    if isinstance(estimator, Pipeline | ColumnTransformer | FeatureUnion):
        return _with_parts(estimator, answers=answers)
    if isinstance(estimator, KBinsDiscretizer) and estimator.encode == "onehot":
        return _with(estimator, encode="onehot-dense")
    if isinstance(estimator, RFE) and not answers:
        return _selector(estimator)
    return _model(estimator) if answers else estimator


def _model(estimator: Any) -> Any:  # noqa: ANN401
    """In place of what predicts."""
    if isinstance(estimator, RFE):
        inner = unwrapped(estimator.estimator_)
        return Pipeline([("select", _selector(estimator)), ("model", inner)])
    if isinstance(estimator, SelfTrainingClassifier):
        return unwrapped(estimator.estimator_)
    if isinstance(estimator, VotingClassifier):
        return _with(estimator, flatten_transform=False)
    if isinstance(estimator, TransformedTargetRegressor) and _does_nothing(estimator.transformer_):
        return unwrapped(estimator.regressor_)
    return estimator


def _selector(estimator: Any) -> Any:  # noqa: ANN401
    """Its columns alone: skl2onnx takes an RFE of a classifier for a classifier anywhere."""
    made = SequentialFeatureSelector(estimator.estimator_)
    made.support_ = estimator.get_support()
    return made


def _does_nothing(transformer: Any) -> bool:  # noqa: ANN401
    return isinstance(transformer, FunctionTransformer) and transformer.inverse_func is None


def _with_parts(estimator: Any, *, answers: bool) -> Any:  # noqa: ANN401
    if isinstance(estimator, Pipeline):
        last = len(estimator.steps) - 1
        steps = [
            (name, unwrapped(part, answers=answers and at == last))
            for at, (name, part) in enumerate(estimator.steps)
        ]
        return _with(estimator, steps=steps)
    name = "transformers_" if isinstance(estimator, ColumnTransformer) else "transformer_list"
    parts = [
        (title, unwrapped(part, answers=False), *columns)
        for title, part, *columns in getattr(estimator, name)
    ]
    return _with(estimator, **{name: parts})


def _with(estimator: Any, **changed: Any) -> Any:  # noqa: ANN401
    made = copy.copy(estimator)
    vars(made).update(changed)
    return made
