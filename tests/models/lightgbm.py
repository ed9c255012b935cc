"""Tiny LightGBM models of every objective and boosting, really trained, and their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

import lightgbm
import numpy as np
import pandas as pd

from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array
from slipway.specs import SourceSpec
from tests.models import tree_tables

ROWS: Final = 300


def numbers() -> Array:
    """Four columns, one with gaps, one of five codes."""
    return tree_tables.numbers(ROWS)


def _targets(kind: str) -> Array:
    target = tree_tables.target(numbers())
    made: dict[str, Array] = {
        "number": target,
        "two": (target > 0.5).astype(np.int64),
        "three": np.digitize(target, [0, 1]),
        "positive": np.exp(target / 3),
        "share": 1 / (1 + np.exp(-target)),
    }
    return made[kind]


def fit(
    table: Any,
    target: Array,
    *,
    rounds: int = 6,
    codes: list[int] | Literal["auto"] = "auto",
    **parameters: Any,
) -> lightgbm.Booster:
    """A booster on a table; `codes` are the columns of categories."""
    asked = {"num_leaves": 6, "min_data_in_leaf": 8, "verbose": -1, "num_threads": 1, "seed": 0}
    settings = {**asked, **parameters}
    ranks = str(settings.get("objective")) in {"lambdarank", "rank_xendcg"}
    groups = [ROWS // 4] * 4 if ranks else None
    data = lightgbm.Dataset(table, target, group=groups, categorical_feature=codes)
    return lightgbm.train(settings, data, rounds)


def train(kind: str = "number", **parameters: Any) -> lightgbm.Booster:
    """A booster on the columns."""
    return fit(numbers(), _targets(kind), **parameters)


def early_stopped() -> lightgbm.Booster:
    """Its file ends at the best iteration."""
    random = np.random.default_rng(1)
    fitted = lightgbm.Dataset(numbers()[:150], random.random(150))
    other = lightgbm.Dataset(numbers()[150:], random.random(150), reference=fitted)
    settings = {"early_stopping_round": 3, "learning_rate": 1.0, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, fitted, 40, valid_sets=[other])
    assert booster.num_trees() < 40  # the rest is dropped when training ends
    return booster


def timestamps() -> lightgbm.Booster:
    """Seconds since 1970 within an hour: float32 steps by 128 there."""
    random = np.random.default_rng(0)
    seconds = 1.7e9 + random.integers(0, 3600, ROWS).astype(np.float64)
    table = np.stack([seconds, random.standard_normal(ROWS)], axis=1)
    return fit(table, np.sin(seconds / 300), rounds=20, num_leaves=20)


def with_zeros() -> Array:
    """The columns, a third of one of them nought."""
    table = numbers()
    table[::3, 0] = 0.0
    return table


def many_categories() -> lightgbm.Booster:
    """A column of 90 codes: sets of dozens of them."""
    random = np.random.default_rng(2)
    table = np.stack([random.integers(0, 90, 900), random.standard_normal(900)], axis=1)
    target = np.sin(table[:, 0] * 7) + table[:, 1]
    return fit(*(table, target), num_leaves=20, codes=[0], min_data_per_group=2, cat_smooth=1)


def table_of_categories() -> lightgbm.Booster:
    """A DataFrame with a column of words, which LightGBM codes."""
    words = pd.Categorical(np.array(["Bonn", "Köln", "Ulm"])[np.arange(ROWS) % 3])
    table = pd.DataFrame({"age": numbers()[:, 0], "city": words})
    return fit(table, _targets("number") + 2 * (np.arange(ROWS) % 3 == 1), min_data_per_group=2)


def custom_objective() -> lightgbm.Booster:
    """Gradients of the user's own; answers are the sums."""

    def gradients(found: Array, data: lightgbm.Dataset) -> tuple[Array, Array]:
        return np.tanh(found - data.get_label()), np.ones_like(found)

    return train(objective=gradients)


def named() -> lightgbm.Booster:
    """Columns with names, as a DataFrame gives them."""
    names = ["age", "income", "height", "code"]
    return fit(pd.DataFrame(numbers(), columns=names), _targets("two"), objective="binary")


def _trainer(kind: str, **parameters: Any) -> Callable[[], lightgbm.Booster]:
    return lambda: train(kind, **parameters)


_FOREST: Final = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}

CASES: Final[dict[str, Callable[[], lightgbm.Booster]]] = {
    **{
        objective: _trainer(kind, objective=objective, **more)
        for objective, kind, more in (
            ("binary", "two", {}),
            ("multiclass", "three", {"num_class": 3}),
            ("multiclassova", "three", {"num_class": 3}),
            ("regression", "number", {}),
            ("regression_l1", "number", {}),
            ("huber", "number", {}),
            ("fair", "number", {}),
            ("poisson", "positive", {}),
            ("quantile", "number", {"alpha": 0.9}),
            ("mape", "positive", {}),
            ("gamma", "positive", {}),
            ("tweedie", "positive", {}),
            ("cross_entropy", "share", {}),
            ("cross_entropy_lambda", "share", {}),
            ("lambdarank", "three", {}),
            ("rank_xendcg", "three", {}),
        )
    },
    "sigmoid 2": _trainer("two", objective="binary", sigmoid=2.0),
    "ova sigmoid 2": _trainer("three", objective="multiclassova", num_class=3, sigmoid=2.0),
    "reg_sqrt": _trainer("number", reg_sqrt=True),
    "rf": _trainer("number", **_FOREST),
    "rf binary": _trainer("two", objective="binary", **_FOREST),
    "rf multiclass": _trainer("three", objective="multiclass", num_class=3, **_FOREST),
    "dart": _trainer("number", boosting="dart", rounds=12),
    "goss": _trainer("number", data_sample_strategy="goss", rounds=12),
    "linear_tree": _trainer("number", linear_tree=True),
    "linear_tree binary": _trainer("two", linear_tree=True, objective="binary"),
    "linear_tree multiclass": _trainer(
        "three", linear_tree=True, objective="multiclass", num_class=3
    ),
    "zero_as_missing": lambda: fit(with_zeros(), _targets("number"), zero_as_missing=True),
    "use_missing false": _trainer("number", use_missing=False),
    "no gaps in training": lambda: fit(np.nan_to_num(numbers()), _targets("number")),
    "categorical": _trainer("number", codes=[3], min_data_per_group=2),
    "many categories": many_categories,
    "table of categories": table_of_categories,
    "timestamps": timestamps,
    "stopped early": early_stopped,
    "named columns": named,
    "constant": lambda: fit(numbers(), np.ones(ROWS)),
    "custom objective": custom_objective,
    "large": _trainer("number", num_leaves=60, min_data_in_leaf=1, rounds=60),
}


def save(booster: lightgbm.Booster, folder: Path, **asked: Any) -> ExportRequest:
    """The model as a text file, and the request to export it."""
    path = folder / "model.txt"
    booster.save_model(path)
    return ExportRequest(source=SourceSpec(framework="lightgbm", uri=str(path)), path=path, **asked)
