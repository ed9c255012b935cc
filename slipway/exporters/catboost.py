"""CatBoost to ONNX: .cbm files of classifiers, regressors and rankers, symmetric trees or not.

Classifiers answer `label` and `probabilities`, regressors `prediction`, rankers `scores`. The trees
are written by our own builder: CatBoost's ONNX writer leaves out the exponentials of Poisson and
Tweedie, takes one-versus-all and several labels for exclusive classes, and knows symmetric trees
alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import catboost
import numpy as np

from slipway.errors import ExportFailed
from slipway.exporters.catboost_files import CatBoostModel, load_booster, read_model
from slipway.exporters.tree_answers import Answers, Kind
from slipway.exporters.tree_export import Boosted, export_boosted
from slipway.exporters.tree_graphs import Graph, Link, exponential, identity, sigmoid, softmax
from slipway.exporters.tree_inputs import Features
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.arrays import Array


@dataclass(frozen=True)
class Loss:
    """How sums become answers, and what CatBoost calls such answers."""

    kind: Kind = "values"
    link: Link = identity
    answer: str = "RawFormulaVal"
    name: str = "prediction"


def _mean_and_variance(graph: Graph, raw: str) -> str:
    """The second of two sums is the logarithm of a deviation."""
    mean, deviation = (
        graph.add("Gather", raw, graph.constant(np.array([column])), axis=1) for column in (0, 1)
    )
    doubled = graph.add("Mul", deviation, graph.constant(np.float32(2)))
    return graph.add("Concat", mean, graph.add("Exp", doubled), axis=1)


LOSSES: Final[dict[str, Loss]] = {
    **dict.fromkeys(
        ("Logloss", "CrossEntropy", "Focal"), Loss("two", sigmoid, answer="Probability")
    ),
    "MultiClass": Loss("one", softmax, answer="Probability"),
    "MultiClassOneVsAll": Loss("one", sigmoid, answer="Probability"),
    **dict.fromkeys(
        ("MultiLogloss", "MultiCrossEntropy"), Loss("each", sigmoid, answer="Probability")
    ),
    **dict.fromkeys(("Poisson", "Tweedie"), Loss("values", exponential, answer="Exponent")),
    "RMSEWithUncertainty": Loss("values", _mean_and_variance, answer="RMSEWithUncertainty"),
    **dict.fromkeys(
        (
            *("RMSE", "MAE", "Quantile", "MultiQuantile", "GroupQuantile", "LogLinQuantile"),
            *("MAPE", "Lq", "Huber", "Expectile", "LogCosh", "Cox", "SurvivalAft"),
            *("MultiRMSE", "MultiRMSEWithMissingValues"),
            *("PythonUserDefinedPerObject", "PythonUserDefinedMultiTarget"),
        ),
        Loss(),
    ),
    **dict.fromkeys(
        (
            *("YetiRank", "YetiRankPairwise", "PairLogit", "PairLogitPairwise", "LambdaMart"),
            *("QueryRMSE", "QuerySoftMax", "QueryCrossEntropy", "StochasticRank"),
            *("StochasticFilter",),
        ),
        Loss(name="scores"),
    ),
}
"""https://catboost.ai/docs/en/concepts/loss-functions; answers as `predict` gives them."""


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a CatBoost source; see `slipway.protocols.Exporter`."""
    booster = load_booster(request.path)
    model = read_model(booster, request.path, scratch)
    loss = LOSSES.get(model.loss)
    if loss is None:
        raise ExportFailed(
            f"{request.path.name}: loss function {model.loss} is none whose answers are known; "
            f"known are {', '.join(LOSSES)}"
        )

    def write(graph: Graph, table: str) -> str:
        return loss.link(graph, graph.trees(model.forest, table, "float32"))

    def predict(table: Array) -> Array:
        found = np.asarray(booster.predict(table, prediction_type=loss.answer, thread_count=1))
        found = found.reshape(len(table), -1)
        return found[:, 1:] if loss.kind == "two" else found

    return export_boosted(
        Boosted(
            features=Features(model.names, named=model.named),
            forest=model.forest,
            answers=Answers(
                loss.kind,
                model.forest.targets,
                name=loss.name,
                classes=_classes(model, loss, request),
                threshold=model.threshold,
            ),
            write=write,
            predict=predict,
            fails_with=catboost.CatBoostError,
            packages=("catboost",),
        ),
        request,
        scratch,
    )


def _classes(model: CatBoostModel, loss: Loss, request: ExportRequest) -> Array:
    """Names of the exclusive classes: strings, or whole numbers; False and True are 0 and 1."""
    if loss.kind not in {"two", "one"} or not model.classes:
        return np.arange(0)
    if any(isinstance(name, str) for name in model.classes):
        return np.array([str(name) for name in model.classes])
    numbers = np.array(model.classes, dtype=np.float64)
    if not np.array_equal(numbers, np.round(numbers)):
        raise ExportFailed(
            f"{request.path.name}: its classes are fractions ({', '.join(map(str, model.classes))})"
            ", and labels are whole numbers or strings; rename them before training"
        )
    return numbers.astype(np.int64)
