"""XGBoost to ONNX: JSON and UBJ files of every booster and objective that answers with numbers.

Classifiers answer `label` and `probabilities`, regressors `prediction`, rankers and raw margins
`scores`. Answers stop at the best iteration where training stopped early, as XGBoost's own
scikit-learn classes do. The trees are written by our own builder: onnxmltools leaves out parallel
trees, best iterations and most link functions, and refuses dart, gblinear and rankers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import xgboost

from slipway.errors import DataError, ExportFailed, UnreadableModel
from slipway.exporters.cleaning import finish_export
from slipway.exporters.naming import output_names
from slipway.exporters.recording import golden_cases, golden_samples, record_golden, tool_versions
from slipway.exporters.tree_graphs import (
    Graph,
    Link,
    best_class,
    exponential,
    identity,
    sigmoid,
    softmax,
    two_classes,
)
from slipway.exporters.tree_inputs import Features, choose_inputs, matrix_of, trying_rows
from slipway.exporters.trees import Forest
from slipway.exporters.wording import first_lines
from slipway.exporters.xgboost_files import XGBoostModel, read_model
from slipway.protocols import ExportRequest, ExportResult
from slipway.reports import Finding, TensorInfo
from slipway.samples.arrays import Array


@dataclass(frozen=True)
class Objective:
    """How margins become answers: the answer's name and its link, and base scores margins."""

    answer: str
    link: Link = identity
    margin: Callable[[float], float] = float


def _logit(probability: float) -> float:
    return -math.log(1 / probability - 1)


_PLAIN: Final = Objective("prediction")
_POSITIVE: Final = Objective("prediction", exponential, math.log)
_RANK: Final = Objective("scores")
OBJECTIVES: Final[dict[str, Objective]] = {
    "binary:logistic": Objective("probability", sigmoid, _logit),
    "binary:logitraw": _RANK,
    "binary:hinge": Objective("hinge"),
    "multi:softmax": Objective("probabilities", softmax),
    "multi:softprob": Objective("probabilities", softmax),
    "reg:squarederror": _PLAIN,
    "reg:linear": _PLAIN,
    "reg:squaredlogerror": _PLAIN,
    "reg:pseudohubererror": _PLAIN,
    "reg:absoluteerror": _PLAIN,
    "reg:quantileerror": _PLAIN,
    "reg:logistic": Objective("prediction", sigmoid, _logit),
    "reg:gamma": _POSITIVE,
    "reg:tweedie": _POSITIVE,
    "count:poisson": _POSITIVE,
    "survival:cox": _POSITIVE,
    "survival:aft": _POSITIVE,
    "rank:ndcg": _RANK,
    "rank:pairwise": _RANK,
    "rank:map": _RANK,
}
"""https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters"""


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export an XGBoost source; see `slipway.protocols.Exporter`."""
    model = read_model(request.path)
    objective = _objective(model, request)
    forest = Forest(model.trees, tuple(_margin(objective, model)))
    names = model.names or tuple(f"f{index}" for index in range(model.features))
    features = Features(names, named=bool(model.names), categories=_categories(model, forest))
    samples = golden_samples(request)
    inputs = choose_inputs(features, request, samples, number="float32")
    own = _answers(objective, model)
    outputs = output_names(
        tuple(own), inputs=[tensor.name for tensor in inputs], asked=request.outputs
    )
    graph = Graph(inputs)
    graph.reserve(outputs)
    made = _write(graph, model, forest, objective, features)
    path = scratch / "model.onnx"
    onnx.save(
        graph.model(
            {name: (made[key], own[key]) for name, key in zip(outputs, own, strict=True)},
            opset=request.opset,
        ),
        path,
    )
    rows = samples or trying_rows(forest, features, inputs, seed=request.seed)
    source = _Source(_load(request), model, objective, inputs, outputs)
    return finish_export(
        path,
        record_golden(golden_cases(inputs, rows, seed=request.seed), source.run),
        request=request,
        scratch=scratch,
        route="trees",
        tools=tool_versions("xgboost", "xgboost-cpu", "onnx"),
        findings=_findings(model),
    )


def _objective(model: XGBoostModel, request: ExportRequest) -> Objective:
    found = OBJECTIVES.get(model.objective)
    if found is None:
        raise ExportFailed(
            f"{request.path.name}: objective {model.objective} is none whose answers are known; "
            f"known are {', '.join(OBJECTIVES)}"
        )
    if found.answer in {"probability", "hinge"} and model.targets > 1:
        # One label for each of several targets.
        return Objective(
            "labels" if found.answer == "hinge" else "several", found.link, found.margin
        )
    return found


def _margin(objective: Objective, model: XGBoostModel) -> list[float]:
    try:
        return [float(np.float32(objective.margin(score))) for score in model.base_score]
    except (ValueError, ZeroDivisionError) as error:
        raise UnreadableModel(
            f"a base score of {model.base_score} cannot be one of {model.objective}"
        ) from error


def _categories(model: XGBoostModel, forest: Forest) -> dict[int, int]:
    """Codes by column; a categorical column that no tree uses has some as well."""
    unused = {index: 1 for index, kind in enumerate(model.feature_types) if kind == "c"}
    return unused | forest.categories()


def _answers(objective: Objective, model: XGBoostModel) -> dict[str, TensorInfo]:
    """Type and shape of each output, by its name."""
    count = model.targets

    def tensor(name: str, dtype: str, *shape: int) -> TensorInfo:
        return TensorInfo.model_validate({"name": name, "dtype": dtype, "shape": ("batch", *shape)})

    match objective.answer:
        case "probability":
            described = [tensor("label", "int64"), tensor("probabilities", "float32", 2)]
        case "probabilities":
            described = [tensor("label", "int64"), tensor("probabilities", "float32", count)]
        case "several":
            described = [
                tensor("label", "int64", count),
                tensor("probabilities", "float32", count),
            ]
        case "hinge":
            described = [tensor("label", "int64")]
        case "labels":
            described = [tensor("label", "int64", count)]
        case name:
            described = [tensor(name, "float32", count)]
    return {info.name: info for info in described}


def _write(
    graph: Graph,
    model: XGBoostModel,
    forest: Forest,
    objective: Objective,
    features: Features,
) -> dict[str, str]:
    """The nodes; which tensor is which answer."""
    table = graph.features("float32")
    if model.booster == "gblinear":
        raw = _linear(graph, table, model, forest.base)
    else:
        raw = graph.trees(forest, _whole(graph, table, features), "float32")
    linked = objective.link(graph, raw)
    match objective.answer:
        case "probability":
            both = two_classes(graph, linked)
            return {"label": best_class(graph, both, np.arange(2)), "probabilities": both}
        case "probabilities":
            label = best_class(graph, linked, np.arange(model.targets))
            return {"label": label, "probabilities": linked}
        case "several":
            above = graph.add("Greater", linked, graph.constant(np.float32(0.5)))
            return {"label": graph.cast(above, "bool", "int64"), "probabilities": linked}
        case "hinge" | "labels" as kind:
            above = graph.add("Greater", linked, graph.constant(np.float32(0)))
            label = graph.cast(above, "bool", "int64")
            if kind == "hinge":
                label = graph.add("Reshape", label, graph.constant(np.array([-1])))
            return {"label": label}
        case name:
            return {name: linked}


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


def _load(request: ExportRequest) -> xgboost.Booster:
    try:
        return xgboost.Booster(params={"nthread": 1}, model_file=str(request.path))
    except (xgboost.core.XGBoostError, ValueError, TypeError) as error:
        raise UnreadableModel(
            f"{request.path.name} cannot be loaded ({first_lines(error)}); damaged?"
        ) from error


@dataclass(frozen=True)
class _Source:
    """The loaded booster and how it is called outside."""

    booster: xgboost.Booster
    model: XGBoostModel
    objective: Objective
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[str, ...]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """XGBoost's own answers, under the names and in the shapes of the ONNX outputs."""
        return dict(zip(self.outputs, self._answers(feeds), strict=True))

    def _answers(self, feeds: Mapping[str, Array]) -> list[Array]:
        found = self._predict(feeds, margin=False)
        above = (found > 0.5).astype(np.int64)  # noqa: PLR2004 - as XGBClassifier does
        softened = self.model.objective == "multi:softmax"
        match self.objective.answer:
            case "probability":
                answers = [above[:, 0], np.concatenate([1 - found, found], axis=1)]
            case "probabilities" if softened:  # it predicts labels alone
                probabilities = _softmax(self._predict(feeds, margin=True))
                answers = [found[:, 0].astype(np.int64), probabilities]
            case "probabilities":
                answers = [found.argmax(axis=1), found]
            case "several":
                answers = [above, found]
            case "hinge":
                answers = [above[:, 0]]
            case "labels":
                answers = [above]
            case _:
                answers = [found]
        return answers

    def _predict(self, feeds: Mapping[str, Array], *, margin: bool) -> Array:
        try:
            data = xgboost.DMatrix(
                matrix_of(self.inputs, feeds, "float32"),
                feature_names=list(self.model.names) or None,
                feature_types=list(self.model.feature_types) or None,
                enable_categorical=True,
                nthread=1,
            )
            answers: Array = self.booster.predict(
                data,
                output_margin=margin,
                iteration_range=(0, self.model.rounds or 0),
                strict_shape=True,
            )
        except (xgboost.core.XGBoostError, ValueError) as error:
            raise DataError(
                f"the source model does not run on the golden data: {first_lines(error)}"
            ) from error
        return answers


def _softmax(margins: Array) -> Array:
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def _findings(model: XGBoostModel) -> list[Finding]:
    found = []
    if model.recoded:
        found.append(
            Finding(
                level="warning",
                code="categories-as-codes",
                message="the model was trained on a table with categories; the exported model "
                "takes their codes, in the order of the training table's categories",
            )
        )
    return found
