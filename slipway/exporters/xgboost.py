"""XGBoost to ONNX: JSON and UBJ files of every booster and objective that answers with numbers.

Classifiers answer `label` and `probabilities`, regressors `prediction`, rankers and raw margins
`scores`. Answers stop at the best iteration where training stopped early, as XGBoost's own
scikit-learn classes do. The trees are written by our own builder: onnxmltools leaves out parallel
trees, best iterations and most link functions, and refuses dart, gblinear and rankers.

A file does not keep the `missing` of the class that it was trained with: NaN alone is missing, in
XGBoost after loading as in the graph. Whoever trained with `missing=0` gives NaN for 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import xgboost

from slipway.errors import ExportFailed, UnreadableModel
from slipway.exporters.tree_answers import Answers, Kind
from slipway.exporters.tree_export import Boosted, codes_warning, export_boosted
from slipway.exporters.tree_graphs import Graph, Link, exponential, identity, sigmoid, softmax
from slipway.exporters.tree_inputs import Features
from slipway.exporters.trees import Forest
from slipway.exporters.wording import first_lines
from slipway.exporters.xgboost_files import XGBoostModel, read_model
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import Finding
from slipway.samples.arrays import Array


@dataclass(frozen=True)
class Objective:
    """How margins become answers, and base scores margins."""

    kind: Kind = "values"
    link: Link = identity
    margin: Callable[[float], float] = float


def _logit(probability: float) -> float:
    return -math.log(1 / probability - 1)


_PLAIN: Final = Objective()
_POSITIVE: Final = Objective("values", exponential, math.log)
OBJECTIVES: Final[dict[str, Objective]] = {
    "binary:logistic": Objective("two", sigmoid, _logit),
    "binary:logitraw": _PLAIN,
    "binary:hinge": Objective("above"),
    "multi:softmax": Objective("one", softmax),
    "multi:softprob": Objective("one", softmax),
    "reg:squarederror": _PLAIN,
    "reg:linear": _PLAIN,
    "reg:squaredlogerror": _PLAIN,
    "reg:pseudohubererror": _PLAIN,
    "reg:absoluteerror": _PLAIN,
    "reg:quantileerror": _PLAIN,
    "reg:logistic": Objective("values", sigmoid, _logit),
    "reg:gamma": _POSITIVE,
    "reg:tweedie": _POSITIVE,
    "count:poisson": _POSITIVE,
    "survival:cox": _POSITIVE,
    "survival:aft": _POSITIVE,
    "rank:ndcg": _PLAIN,
    "rank:pairwise": _PLAIN,
    "rank:map": _PLAIN,
}
"""https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters"""


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export an XGBoost source; see `slipway.protocols.Exporter`."""
    model = read_model(request.path)
    objective = _objective(model, request)
    forest = Forest(model.trees, _margins(objective, model))
    names = model.names or tuple(f"f{index}" for index in range(model.features))
    features = Features(names, named=bool(model.names), categories=_categories(model, forest))
    booster = _load(request)

    def write(graph: Graph, table: str) -> str:
        if model.booster == "gblinear":
            return objective.link(graph, _linear(graph, table, model, forest.base))
        table = _whole(graph, table, features)
        return objective.link(graph, graph.trees(forest, table, "float32"))

    return export_boosted(
        Boosted(
            features=features,
            forest=forest,
            answers=_answers(objective, model),
            write=write,
            predict=lambda table: _predict(booster, model, table),
            fails_with=xgboost.core.XGBoostError,
            packages=("xgboost", "xgboost-cpu"),
            findings=_findings(model),
        ),
        request,
        scratch,
    )


def _objective(model: XGBoostModel, request: ExportRequest) -> Objective:
    found = OBJECTIVES.get(model.objective)
    if found is None:
        raise ExportFailed(
            f"{request.path.name}: objective {model.objective} is none whose answers are known; "
            f"known are {', '.join(OBJECTIVES)}"
        )
    return found


def _answers(objective: Objective, model: XGBoostModel) -> Answers:
    ranks = model.objective.startswith("rank:") or model.objective == "binary:logitraw"
    several = objective.kind == "two" and model.targets > 1
    return Answers(
        "each" if several else objective.kind,
        model.targets,
        name="scores" if ranks else "prediction",
    )


def _margins(objective: Objective, model: XGBoostModel) -> tuple[float, ...]:
    try:
        return tuple(float(np.float32(objective.margin(score))) for score in model.base_score)
    except (ValueError, ZeroDivisionError) as error:
        raise UnreadableModel(
            f"a base score of {model.base_score} cannot be one of {model.objective}"
        ) from error


def _categories(model: XGBoostModel, forest: Forest) -> dict[int, int]:
    """Codes by column; a categorical column that no tree uses has some as well."""
    unused = {index: 1 for index, kind in enumerate(model.feature_types) if kind == "c"}
    return unused | forest.categories()


def _whole(graph: Graph, table: str, features: Features) -> str:
    """Codes are compared as whole numbers: 1.7 is category 1; numbers stay as they are."""
    if not features.categories:
        return table
    mask = np.zeros((1, len(features)), dtype=bool)
    mask[0, list(features.categories)] = True
    return graph.add("Where", graph.constant(mask), graph.add("Floor", table), table)


def _linear(graph: Graph, table: str, model: XGBoostModel, base: tuple[float, ...]) -> str:
    """Gblinear: a product in which missing values count for nothing."""
    weights = np.asarray(model.linear, dtype=np.float32).reshape(-1, model.targets)
    absent = graph.add("IsNaN", table)
    known = graph.add("Where", absent, graph.constant(np.float32(0)), table)
    product = graph.add("MatMul", known, graph.constant(weights[:-1]))
    bias = weights[-1:] + np.float32(base[0])  # XGBoost 3.2 begins every class at the first's
    return graph.add("Add", product, graph.constant(bias))


def _findings(model: XGBoostModel) -> list[Finding]:
    found = [codes_warning()] if model.recoded else []
    if model.rounds is not None and not model.wrapped:
        found.append(
            Finding(
                level="warning",
                code="best-iteration",
                message=f"answers stop at the best iteration, after {model.rounds} rounds, as the "
                "scikit-learn classes do; Booster.predict alone goes on to the last. Delete the "
                "attribute best_iteration before saving to have all",
            )
        )
    return found


def _load(request: ExportRequest) -> xgboost.Booster:
    try:
        return xgboost.Booster(params={"nthread": 1}, model_file=str(request.path))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise UnreadableModel(
            f"{request.path.name} cannot be loaded ({first_lines(error)}); damaged?"
        ) from error


def _predict(booster: xgboost.Booster, model: XGBoostModel, table: Array) -> Array:
    """XGBoost's own answers; probabilities where it would give the label alone."""
    data = xgboost.DMatrix(
        table,
        feature_names=list(model.names) or None,
        feature_types=list(model.feature_types) or None,
        enable_categorical=True,
        nthread=1,
    )
    softened = model.objective == "multi:softmax"
    answers: Array = booster.predict(
        data,
        output_margin=softened,
        iteration_range=(0, model.rounds or 0),
        strict_shape=True,
    )
    return _softmax(answers) if softened else answers


def _softmax(margins: Array) -> Array:
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result
