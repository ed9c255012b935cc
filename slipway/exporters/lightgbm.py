"""LightGBM to ONNX: text files of every boosting and objective, categories and linear trees too.

Classifiers answer `label` and `probabilities`, regressors `prediction`, rankers `scores`. The trees
are written by our own builder: onnxmltools averages no random forest, knows no link but three,
drops linear leaves and rounds thresholds the wrong way. Where features are too fine for float32,
such as timestamps, inputs and thresholds are float64.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import lightgbm
import numpy as np

from slipway.errors import ExportFailed, UnreadableModel
from slipway.exporters.lightgbm_files import (
    ZERO,
    LightGBMModel,
    LinearLeaf,
    Node,
    TextTree,
    read_model,
)
from slipway.exporters.tree_answers import Answers, Kind
from slipway.exporters.tree_export import Boosted, codes_warning, export_boosted
from slipway.exporters.tree_graphs import (
    Graph,
    Link,
    exponential,
    identity,
    sigmoid,
    softmax,
    softplus,
)
from slipway.exporters.tree_inputs import Features
from slipway.exporters.trees import Forest, Leaf, Member, Number, Split, Tree, round_down
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.arrays import Array

_ZERO_LIMIT: Final = 1e-35  # LightGBM's kZeroThreshold: what is not beyond it is nought
_LARGEST: Final = float(np.finfo(np.float32).max)
_FINE: Final = 2.5e-5  # float32 steps coarser than this share of a feature's range move rows

KINDS: Final[dict[str, tuple[Kind, str]]] = {
    "binary": ("two", ""),
    "multiclass": ("one", ""),
    "multiclassova": ("one", ""),
    "lambdarank": ("values", "scores"),
    "rank_xendcg": ("values", "scores"),
    **dict.fromkeys(
        (
            *("", "regression", "regression_l1", "huber", "fair", "poisson", "quantile", "mape"),
            *("gamma", "tweedie", "cross_entropy", "cross_entropy_lambda"),
        ),
        ("values", "prediction"),
    ),
}
"""https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective; none: the user's own."""

_LINKS: Final[dict[str, Link]] = {
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), sigmoid),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), exponential),
    "multiclass": softmax,
    "cross_entropy_lambda": softplus,
}


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a LightGBM source; see `slipway.protocols.Exporter`."""
    model = read_model(request.path)
    if model.objective not in KINDS:
        raise ExportFailed(
            f"{request.path.name}: objective {model.objective} is none whose answers are known; "
            f"known are {', '.join(filter(None, KINDS))}"
        )
    kind, name = KINDS[model.objective]
    number = _number(model, request)
    planes = _Planes(model)
    forest = planes.forest(number)
    features = Features(model.names, named=model.named, categories=forest.categories())
    zeros = _zero_is_missing(model, request)
    booster = _load(request)

    def write(graph: Graph, table: str) -> str:
        given = _prepared(graph, table, features, zeros, number)
        sums = graph.trees(forest, given, number)
        return _linked(graph, planes.add(graph, sums, table, number), model)

    def predict(table: Array) -> Array:
        found: Array = np.asarray(booster.predict(table, num_threads=1))
        return found.reshape(len(table), -1)

    return export_boosted(
        Boosted(
            features=features,
            forest=forest,
            answers=Answers(kind, model.targets, name=name),
            write=write,
            predict=predict,
            fails_with=lightgbm.basic.LightGBMError,
            packages=("lightgbm",),
            number=number,
            findings=[codes_warning()] if model.recoded else [],
        ),
        request,
        scratch,
    )


def _number(model: LightGBMModel, request: ExportRequest) -> Number:
    """Double where float32 would move rows over thresholds; where inputs are given, as they are."""
    if request.inputs:
        doubles = any(tensor.dtype == "float64" for tensor in request.inputs.values())
        return "float64" if doubles else "float32"
    used = {node.feature for tree in model.trees for node in tree.nodes if isinstance(node, Node)}
    for feature in used:
        bounds = model.ranges[feature] if feature < len(model.ranges) else None
        if bounds is None or not np.isfinite(bounds).all() or bounds[0] == bounds[1]:
            continue
        step = float(np.spacing(np.float32(min(max(map(abs, bounds)), _LARGEST / 2))))
        if step > _FINE * (bounds[1] - bounds[0]):
            return "float64"
    return "float32"


class _Planes:
    """Trees whose leaves are planes, as sums: each leaf adds its constant and its slopes.

    The sums of slopes times the features are what the leaves' planes come to together. A leaf of
    which a feature is missing gives its value instead: tests for that stand before it.
    """

    def __init__(self, model: LightGBMModel) -> None:
        self.model = model
        self.columns = sorted(
            {
                feature
                for tree in model.trees
                for leaf in tree.nodes
                if isinstance(leaf, LinearLeaf)
                for feature, _ in leaf.slopes
            }
        )
        self.width = 1 + len(self.columns)

    def forest(self, number: Number) -> Forest:
        """Targets of the model, each with its constant and its slopes."""
        model = self.model
        rounds = max(1, len(model.trees) // model.targets)
        share = 1 / rounds if model.averaged else 1.0
        trees = tuple(
            self._tree(tree, (index % model.targets) * self.width, share, number)
            for index, tree in enumerate(model.trees)
        )
        return Forest(trees, (0.0,) * (model.targets * self.width))

    def add(self, graph: Graph, sums: str, table: str, number: Number) -> str:
        """The sums [batch, targets], with the slopes multiplied by their features."""
        if not self.columns:
            return sums
        known = graph.add(
            "Where", graph.add("IsNaN", table), graph.constant(np.dtype(number).type(0)), table
        )
        chosen = graph.add("Gather", known, graph.constant(np.array(self.columns)), axis=1)
        chosen = graph.cast(chosen, number, "float32")
        shape = graph.constant(np.array([-1, self.model.targets, self.width]))
        each = graph.add("Reshape", sums, shape)
        first, rest = (
            graph.add("Gather", each, graph.constant(np.arange(start, stop)), axis=2)
            for start, stop in ((0, 1), (1, self.width))
        )
        column = graph.add("Reshape", chosen, graph.constant(np.array([-1, self.width - 1, 1])))
        whole = graph.add("Add", first, graph.add("MatMul", rest, column))
        return graph.add("Reshape", whole, graph.constant(np.array([-1, self.model.targets])))

    def _tree(self, tree: TextTree, target: int, share: float, number: Number) -> Tree:
        nodes: list[Any] = [None] * len(tree.nodes)
        for place, node in enumerate(tree.nodes):
            if isinstance(node, Node):
                nodes[place] = _split(node, number)
            elif tree.linear:
                self._plane(nodes, place, node, target, share)
            else:
                nodes[place] = Leaf(((target, share * node.value),))
        return nodes

    def _plane(
        self, nodes: list[Any], place: int, leaf: LinearLeaf, target: int, share: float
    ) -> None:
        for feature, _ in leaf.slopes:
            known, missing = len(nodes), len(nodes) + 1
            nodes += [None, Leaf(((target, share * leaf.value),))]
            nodes[place] = Split(feature, "BRANCH_LEQ", _LARGEST, known, missing, missing_yes=False)
            place = known
        weights: dict[int, float] = {target: share * leaf.constant}
        for feature, slope in leaf.slopes:
            column = target + 1 + self.columns.index(feature)
            weights[column] = weights.get(column, 0.0) + share * slope
        nodes[place] = Leaf(tuple(weights.items()))


def _split(node: Node, number: Number) -> Split | Member:
    if node.codes is not None:
        return Member(node.feature, node.codes, node.left, node.right, missing_yes=False)
    # Where nothing is missing by the file, NaN is taken for nought.
    missing_left = node.default_left if node.missing else node.threshold >= 0
    value = node.threshold if number == "float64" else round_down(node.threshold)
    return Split(node.feature, "BRANCH_LEQ", value, node.left, node.right, missing_yes=missing_left)


def _zero_is_missing(model: LightGBMModel, request: ExportRequest) -> list[int]:
    """Features whose noughts count as missing."""
    kinds: dict[int, set[int]] = {}
    for tree in model.trees:
        for node in tree.nodes:
            if isinstance(node, Node) and node.codes is None:
                kinds.setdefault(node.feature, set()).add(node.missing)
    zeros = [feature for feature, found in kinds.items() if ZERO in found]
    for feature in zeros:
        if len(kinds[feature]) > 1:
            raise ExportFailed(
                f"{request.path.name}: feature {model.names[feature]} counts noughts as missing in "
                "some trees and not in others; train the model in one go"
            )
    return sorted(zeros)


def _prepared(
    graph: Graph, table: str, features: Features, zeros: list[int], number: Number
) -> str:
    """Codes as whole numbers, as LightGBM cuts them; noughts as NaN where they are missing."""
    kind = np.dtype(number).type
    if features.categories:
        negative = graph.add("Less", table, graph.constant(kind(0)))
        whole = graph.add("Where", negative, graph.add("Ceil", table), graph.add("Floor", table))
        mask = graph.constant(_mask(features, features.categories))
        table = graph.add("Where", mask, whole, table)
    if zeros:
        limit = graph.constant(kind(_ZERO_LIMIT))
        beyond = graph.add("Greater", graph.add("Abs", table), limit)
        kept = graph.add("Or", beyond, graph.constant(~_mask(features, zeros)))
        # x / 1, and 0 / 0 for NaN: one among stored numbers would be taken for damage.
        table = graph.add("Where", kept, table, graph.constant(kind(0)))
        table = graph.add("Div", table, graph.cast(kept, "bool", number))
    return table


def _mask(features: Features, chosen: Mapping[int, int] | list[int]) -> Array:
    mask = np.zeros((1, len(features)), dtype=bool)
    mask[0, list(chosen)] = True
    return mask


def _linked(graph: Graph, raw: str, model: LightGBMModel) -> str:
    """What `ObjectiveFunction::ConvertOutput` makes of the sums."""
    if "sqrt" in model.settings:
        return graph.add("Mul", raw, graph.add("Abs", raw))
    slope = float(model.settings.get("sigmoid", "1"))
    if not math.isclose(slope, 1):
        raw = graph.add("Mul", raw, graph.constant(np.float32(slope)))
    return _LINKS.get(model.objective, identity)(graph, raw)


def _load(request: ExportRequest) -> lightgbm.Booster:
    try:
        return lightgbm.Booster(model_file=str(request.path))
    except (lightgbm.basic.LightGBMError, ValueError, TypeError) as error:
        raise UnreadableModel(
            f"{request.path.name} cannot be loaded ({first_lines(error)}); damaged?"
        ) from error
