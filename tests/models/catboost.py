"""Tiny CatBoost models of many losses, really trained, and their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import catboost
import numpy as np

from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array
from slipway.specs import SourceSpec

ROWS: Final = 200
QUIET: Final[dict[str, Any]] = {
    "iterations": 6,
    "thread_count": 1,
    "verbose": False,
    "allow_writing_files": False,
}


def numbers() -> Array:
    """Four columns, one with gaps."""
    random = np.random.default_rng(0)
    table = random.standard_normal((ROWS, 4)).astype(np.float32)
    table[::9, 1] = np.nan
    return table


def _targets(kind: str) -> Array:
    table = np.nan_to_num(numbers())
    target = table[:, 0] + 0.5 * table[:, 1] + np.sin(3 * table[:, 2])
    made: dict[str, Array] = {
        "number": target,
        "two": target > 0.5,
        "words": np.where(target > 0.5, "sick", "well"),
        "codes": np.array([7, -2])[(target > 0.5).astype(int)],
        "fractions": np.array([0.25, 0.5])[(target > 0.5).astype(int)],
        "three": np.digitize(target, [0, 1]),
        "names": np.array(["Bonn", "Köln", "Ulm"])[np.digitize(target, [0, 1])],
        "positive": np.exp(target / 3),
        "share": 1 / (1 + np.exp(-target)),
        "bounds": np.stack([np.exp(target), np.exp(target)], axis=1),
        "several": np.stack([target, -(target**2)], axis=1),
        "labels": np.stack([target > 0, target > 1], axis=1).astype(int),
    }
    return made[kind]


def train(loss: str, kind: str = "number", **parameters: Any) -> catboost.CatBoost:
    """A model on the columns."""
    groups = np.arange(ROWS) // 20 if parameters.pop("ranks", False) else None
    pool = catboost.Pool(parameters.pop("table", numbers()), _targets(kind), group_id=groups)
    asked = {"depth": 3, "random_seed": 0, "loss_function": loss, **parameters}
    return catboost.CatBoost({**QUIET, **asked}).fit(pool)


def named() -> catboost.CatBoost:
    """Columns with names."""
    pool = catboost.Pool(
        numbers(), _targets("words"), feature_names=["age", "in come", "höhe", "code"]
    )
    return catboost.CatBoost({**QUIET, "loss_function": "Logloss"}).fit(pool)


def categorical(one_hot: int) -> catboost.CatBoost:
    """A column of words, which CatBoost knows by hashes."""
    words = np.array(["Bonn", "Köln", "Ulm"])[np.arange(ROWS) % 3]
    table = [[float(row[0]), word] for row, word in zip(numbers(), words, strict=True)]
    pool = catboost.Pool(table, _targets("two"), cat_features=[1], feature_names=["age", "city"])
    asked = {"loss_function": "Logloss", "one_hot_max_size": one_hot}
    return catboost.CatBoost({**QUIET, **asked}).fit(pool)


def early_stopped() -> catboost.CatBoost:
    """Shrunk to its best iteration when training ends."""
    random = np.random.default_rng(1)
    pools = [
        catboost.Pool(numbers()[start : start + 100], random.random(100)) for start in (0, 100)
    ]
    asked = {"iterations": 50, "loss_function": "RMSE", "learning_rate": 0.5}
    model = catboost.CatBoost({**QUIET, **asked})
    model.fit(pools[0], eval_set=pools[1], early_stopping_rounds=5)
    assert model.tree_count_ < 50
    return model


def with_threshold() -> catboost.CatBoost:
    """A classifier whose second class must be likelier than 0.8."""
    model = catboost.CatBoostClassifier(**QUIET).fit(numbers(), _targets("words"))
    model.set_probability_threshold(0.8)
    return model


def scaled() -> catboost.CatBoost:
    """A scale and a bias set after training."""
    model = train("RMSE")
    model.set_scale_and_bias(2.5, -1.0)
    return model


def summed() -> catboost.CatBoost:
    """Two models as one."""
    return catboost.sum_models([train("RMSE"), train("RMSE", random_seed=1)], weights=[0.3, 0.7])


def _trainer(loss: str, kind: str = "number", **parameters: Any) -> Callable[[], catboost.CatBoost]:
    return lambda: train(loss, kind, **parameters)


CASES: Final[dict[str, Callable[[], catboost.CatBoost]]] = {
    "Logloss": _trainer("Logloss", "two"),
    "Logloss words": _trainer("Logloss", "words"),
    "Logloss codes": _trainer("Logloss", "codes"),
    "CrossEntropy": _trainer("CrossEntropy", "share"),
    "Focal": _trainer("Focal:focal_alpha=0.5;focal_gamma=0.5", "two"),
    "MultiClass": _trainer("MultiClass", "three"),
    "MultiClass names": _trainer("MultiClass", "names"),
    "MultiClassOneVsAll": _trainer("MultiClassOneVsAll", "names"),
    "MultiLogloss": _trainer("MultiLogloss", "labels"),
    "MultiCrossEntropy": _trainer("MultiCrossEntropy", "labels"),
    **{
        loss: _trainer(loss)
        for loss in (
            *("RMSE", "MAE", "Quantile:alpha=0.9", "MultiQuantile:alpha=0.1,0.5,0.9", "MAPE"),
            *("Lq:q=1.5", "Huber:delta=1", "Expectile:alpha=0.3", "LogCosh"),
            "RMSEWithUncertainty",
        )
    },
    "Poisson": _trainer("Poisson", "positive"),
    "Tweedie": _trainer("Tweedie:variance_power=1.5", "positive"),
    "LogLinQuantile": _trainer("LogLinQuantile:alpha=0.5", "positive"),
    "Cox": _trainer("Cox", "positive"),
    "SurvivalAft": _trainer("SurvivalAft:dist=Normal;scale=1", "bounds"),
    "MultiRMSE": _trainer("MultiRMSE", "several"),
    "YetiRank": _trainer("YetiRank", "three", ranks=True),
    "QueryRMSE": _trainer("QueryRMSE", "three", ranks=True),
    "PairLogit": _trainer("PairLogit", "three", ranks=True),
    "Lossguide": _trainer("RMSE", grow_policy="Lossguide", max_leaves=9, depth=6),
    "Depthwise": _trainer("Logloss", "two", grow_policy="Depthwise"),
    "Lossguide MultiClass": _trainer("MultiClass", "three", grow_policy="Lossguide"),
    "nan_mode Max": _trainer("RMSE", nan_mode="Max"),
    "nan_mode Max Lossguide": _trainer("RMSE", nan_mode="Max", grow_policy="Lossguide"),
    "no gaps in training": _trainer("RMSE", table=np.nan_to_num(numbers())),
    "deep": _trainer("RMSE", depth=9, iterations=20),
    "scale and bias": scaled,
    "stopped early": early_stopped,
    "threshold": with_threshold,
    "named columns": named,
}
REFUSED: Final[dict[str, Callable[[], catboost.CatBoost]]] = {
    "categorical, one-hot": lambda: categorical(10),
    "categorical, counted": lambda: categorical(1),
    "sum of models, which forgets its loss": summed,
    "classes that are fractions": _trainer("Logloss", "fractions"),
}


def save(model: catboost.CatBoost, folder: Path, **asked: Any) -> ExportRequest:
    """The model as a .cbm file, and the request to export it."""
    path = folder / "model.cbm"
    model.save_model(str(path))
    return ExportRequest(source=SourceSpec(framework="catboost", uri=str(path)), path=path, **asked)
