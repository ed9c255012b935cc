"""Tiny XGBoost models of every objective and booster, really trained, and their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import xgboost

from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array
from slipway.specs import SourceSpec
from tests.models import tree_tables

ROWS: Final = 200


def numbers() -> Array:
    """Four columns, one with gaps, one of five codes."""
    return tree_tables.numbers(ROWS).astype(np.float32)


def _targets(kind: str) -> Array:
    target = tree_tables.target(numbers())
    made: dict[str, Array] = {
        "number": target,
        "two": (target > 0.5).astype(np.float32),
        "three": np.digitize(target, [0, 1]).astype(np.float32),
        "positive": np.exp(target / 3),
        "counts": np.floor(np.exp(target)),
        "several": np.stack([target, -(target**2)], axis=1),
        "labels": np.stack([target > 0, target > 1], axis=1).astype(np.float32),
    }
    return made[kind]


def train(kind: str = "number", *, rounds: int = 6, **parameters: Any) -> xgboost.Booster:
    """A booster on the columns."""
    data = xgboost.DMatrix(numbers(), _targets(kind))
    if parameters.get("objective", "").startswith("rank:"):
        data.set_group([ROWS // 4] * 4)
    if parameters.get("objective") == "survival:aft":
        data.set_info(label_lower_bound=_targets(kind), label_upper_bound=_targets(kind))
    settings = {"max_depth": 3, "nthread": 1, "seed": 0, **parameters}
    return xgboost.train(settings, data, rounds)


def early_stopped() -> xgboost.Booster:
    """A classifier whose best iteration is long before its last."""
    random = np.random.default_rng(1)
    model = xgboost.XGBClassifier(
        n_estimators=40, max_depth=4, learning_rate=1.0, early_stopping_rounds=8, n_jobs=1
    )
    labels = (_targets("two") + (random.random(ROWS) < 0.3)) % 2
    model.fit(
        numbers()[:100], labels[:100], eval_set=[(numbers()[100:], labels[100:])], verbose=False
    )
    booster = model.get_booster()
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    return booster


def categorical() -> xgboost.Booster:
    """A column of codes, split by sets of them and by one."""
    data = xgboost.DMatrix(
        numbers(), _targets("number"), feature_types=["q", "q", "q", "c"], enable_categorical=True
    )
    return xgboost.train({"max_depth": 3, "max_cat_to_onehot": 1, "nthread": 1}, data, 6)


def many_categories() -> xgboost.Booster:
    """A column of 90 codes: sets of dozens of them."""
    random = np.random.default_rng(2)
    table = np.stack([random.integers(0, 90, 900), random.standard_normal(900)], axis=1)
    target = np.sin(table[:, 0] * 7) + table[:, 1]
    data = xgboost.DMatrix(table, target, feature_types=["c", "q"], enable_categorical=True)
    return xgboost.train({"max_depth": 4, "max_cat_to_onehot": 1, "nthread": 1}, data, 8)


def named() -> xgboost.Booster:
    """Columns with names, as a DataFrame gives them."""
    data = xgboost.DMatrix(
        numbers(), _targets("two"), feature_names=["age", "in come", "höhe", "code"]
    )
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3, "nthread": 1}, data, 6)


def one_class_regressor() -> xgboost.Booster:
    """Nothing to learn: trees of one leaf."""
    return xgboost.train({"nthread": 1}, xgboost.DMatrix(numbers(), np.ones(ROWS)), 3)


def custom_objective() -> xgboost.Booster:
    """Gradients of the user's own; the file says squared error, and answers are the margins."""

    def gradients(found: Array, data: xgboost.DMatrix) -> tuple[Array, Array]:
        return np.tanh(found - data.get_label()), np.ones_like(found)

    data = xgboost.DMatrix(numbers(), _targets("number"))
    return xgboost.train({"max_depth": 3, "nthread": 1}, data, 6, obj=gradients)


def _trainer(kind: str, **parameters: Any) -> Callable[[], xgboost.Booster]:
    return lambda: train(kind, **parameters)


CASES: Final[dict[str, Callable[[], xgboost.Booster]]] = {
    **{
        objective: _trainer(kind, objective=objective, **more)
        for objective, kind, more in (
            ("binary:logistic", "two", {}),
            ("binary:logitraw", "two", {}),
            ("binary:hinge", "two", {}),
            ("multi:softmax", "three", {"num_class": 3}),
            ("multi:softprob", "three", {"num_class": 3}),
            ("reg:squarederror", "number", {}),
            ("reg:squaredlogerror", "positive", {}),
            ("reg:pseudohubererror", "number", {}),
            ("reg:absoluteerror", "number", {}),
            ("reg:quantileerror", "number", {"quantile_alpha": [0.1, 0.5, 0.9]}),
            ("reg:logistic", "two", {}),
            ("reg:gamma", "positive", {}),
            ("reg:tweedie", "positive", {}),
            ("count:poisson", "counts", {}),
            ("survival:cox", "positive", {}),
            ("survival:aft", "positive", {}),
            ("rank:ndcg", "three", {}),
            ("rank:pairwise", "three", {}),
            ("rank:map", "two", {}),
        )
    },
    "base_score": _trainer("two", objective="binary:logistic", base_score=0.2),
    "base_score poisson": _trainer("counts", objective="count:poisson", base_score=3.0),
    "base_score logitraw": _trainer("two", objective="binary:logitraw", base_score=0.8),
    "multi base_score": _trainer("three", objective="multi:softprob", num_class=3, base_score=0.3),
    "num_parallel_tree": _trainer("number", num_parallel_tree=4, subsample=0.5),
    "num_parallel_tree multi": _trainer(
        "three", objective="multi:softprob", num_class=3, num_parallel_tree=3, subsample=0.5
    ),
    "several targets": _trainer("several"),
    "several targets, vector leaves": _trainer("several", multi_strategy="multi_output_tree"),
    "several labels": _trainer("labels", objective="binary:logistic"),
    "several labels, hinge": _trainer("labels", objective="binary:hinge"),
    "dart": _trainer("number", booster="dart", rate_drop=0.5, rounds=12),
    "dart multi": _trainer(
        *("three",), booster="dart", rate_drop=0.5, objective="multi:softprob", num_class=3
    ),
    "gblinear": _trainer("number", booster="gblinear"),
    "gblinear binary": _trainer("two", booster="gblinear", objective="binary:logistic"),
    "gblinear multi": _trainer(
        *("three",), booster="gblinear", objective="multi:softprob", num_class=3
    ),
    "lossguide": _trainer("number", grow_policy="lossguide", max_leaves=12, max_depth=0),
    "exact": _trainer("number", tree_method="exact"),
    "deep": _trainer("number", max_depth=12, min_child_weight=0, rounds=20),
    "stopped early": early_stopped,
    "categorical": categorical,
    "many categories": many_categories,
    "named columns": named,
    "constant": one_class_regressor,
    "custom objective": custom_objective,
}


def save(
    booster: xgboost.Booster, folder: Path, *, form: str = "ubj", **asked: Any
) -> ExportRequest:
    """The model as a file of XGBoost's, and the request to export it."""
    path = folder / f"model.{form}"
    booster.save_model(path)
    return ExportRequest(source=SourceSpec(framework="xgboost", uri=str(path)), path=path, **asked)
