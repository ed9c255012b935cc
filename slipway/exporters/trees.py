"""Decision trees as values, and the one ONNX operator that holds them.

The converters for boosted trees leave out link functions, averaging, iteration ranges and the
rounding of thresholds. So each framework's file is read into these values, which say all of it, and
one builder writes the graph. What belongs to a framework (its file, its objectives) is in its own
modules; the graph round the trees is in `tree_graphs`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.errors import UnreadableModel

Mode = Literal["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ"]
Number = Literal["float32", "float64"]

ML_DOMAIN: Final = "ai.onnx.ml"
ML_OPSET: Final = 3


@dataclass(frozen=True, slots=True)
class Split:
    """Rows for which `x[feature] mode value` holds go to node `yes`, others to `no`."""

    feature: int
    mode: Mode
    value: float
    yes: int
    no: int
    missing_yes: bool  # where NaN goes


@dataclass(frozen=True, slots=True)
class Member:
    """Rows whose `x[feature]` is one of the whole numbers `codes` go to node `yes`."""

    feature: int
    codes: tuple[int, ...]
    yes: int
    no: int
    missing_yes: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a row that ends here adds, by target."""

    weights: tuple[tuple[int, float], ...]


Tree = Sequence[Split | Member | Leaf]
"""Nodes by their number; the root is node 0."""


@dataclass(frozen=True)
class Forest:
    """Trees whose leaves are added up, from `base`."""

    trees: tuple[Tree, ...]
    base: tuple[float, ...]

    @property
    def targets(self) -> int:
        """How many sums a row has."""
        return len(self.base)

    def splits(self) -> Iterable[Split]:
        """All comparisons with a threshold, of all trees."""
        return (node for tree in self.trees for node in tree if isinstance(node, Split))

    def categories(self) -> dict[int, int]:
        """How many codes each categorical feature has, as far as the trees tell."""
        found: dict[int, int] = {}
        for tree in self.trees:
            for node in tree:
                if isinstance(node, Member):
                    highest = max(node.codes, default=0) + 1
                    found[node.feature] = max(found.get(node.feature, 0), highest)
        return found


def check_children(left: Sequence[int], right: Sequence[int], *, what: str) -> None:
    """Refuse trees that are none: children out of range, or a node reached twice.

    `left[i] < 0` marks node i as a leaf. Native loaders follow such numbers out of their memory,
    or for ever.

    Raises:
        UnreadableModel: naming the tree.
    """
    count = len(left)
    reached, pending = {0}, [0]
    while pending:
        node = pending.pop()
        if left[node] < 0:
            continue
        for child in (left[node], right[node]):
            if not 0 < child < count or child in reached:
                raise UnreadableModel(
                    f"{what} is damaged: node {node} has child {child}, which is no node of its own"
                )
            reached.add(child)
            pending.append(child)


def round_down(value: float) -> float:
    """The largest float32 not above a threshold: x <= value stays the same for every float32 x."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
    if float(near) > value:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near)


def tree_node(
    forest: Forest, *, source: str, result: str, number: Number = "float32"
) -> onnx.NodeProto:
    """The operator that answers `result` of shape [batch, targets] in float32.

    In float64 the thresholds and sums are doubles, and so must `source` be.
    """
    columns = _Columns()
    for index, tree in enumerate(forest.trees or ([Leaf(())],)):
        columns.add(index, tree)
    attributes = columns.attributes(number)
    if number == "float64":
        attributes["base_values_as_tensor"] = _tensor("base", forest.base)
    else:
        attributes["base_values"] = [float(np.float32(value)) for value in forest.base]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [source],
        [result],
        name="trees",
        domain=ML_DOMAIN,
        n_targets=forest.targets,
        aggregate_function="SUM",
        post_transform="NONE",
    )
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


class _Columns:
    """The operator's attributes: one list each, an entry per node or per weight."""

    def __init__(self) -> None:
        self.nodes: dict[str, list[Any]] = {
            key: []
            for key in (
                *("treeids", "nodeids", "featureids", "modes", "values", "truenodeids"),
                *("falsenodeids", "missing_value_tracks_true"),
            )
        }
        self.weights: dict[str, list[Any]] = {
            key: [] for key in ("treeids", "nodeids", "ids", "weights")
        }

    def add(self, index: int, tree: Tree) -> None:
        spare = len(tree)
        for place, node in enumerate(tree):
            if isinstance(node, Split):
                self._node(
                    *(index, place, node.feature, node.mode, node.value, node.yes, node.no),
                    int(node.missing_yes),
                )
                continue
            if isinstance(node, Member):
                spare = self._member(index, place, node, spare)
                continue
            self._node(index, place, 0, "LEAF", 0.0, 0, 0, 0)
            # Every leaf needs a weight: onnxruntime takes one without for a broken tree.
            for target, weight in node.weights or ((0, 0.0),):
                for key, value in zip(self.weights, (index, place, target, weight), strict=True):
                    self.weights[key].append(value)

    def _member(self, index: int, place: int, node: Member, spare: int) -> int:
        """A chain of comparisons with one code each; onnxruntime makes one set of it again.

        Its links after the first are numbered from `spare` on.
        """
        codes = node.codes or (-1,)  # codes are never negative: an empty set
        for position, code in enumerate(codes):
            last = position == len(codes) - 1
            self._node(
                *(index, place, node.feature, "BRANCH_EQ", float(code), node.yes),
                node.no if last else spare,
                int(node.missing_yes and position == 0),
            )
            place, spare = spare, spare if last else spare + 1
        return spare

    def _node(self, *values: str | float) -> None:
        for key, value in zip(self.nodes, values, strict=True):
            self.nodes[key].append(value)

    def attributes(self, number: Number) -> dict[str, Any]:
        made: dict[str, Any] = {f"nodes_{key}": column for key, column in self.nodes.items()}
        made |= {f"target_{key}": column for key, column in self.weights.items()}
        for key in ("nodes_values", "target_weights"):
            column = made.pop(key)
            if number == "float64":
                made[f"{key}_as_tensor"] = _tensor(key, column)
            else:
                made[key] = np.asarray(column, dtype=np.float32).tolist()
        return made


def _tensor(name: str, values: Sequence[float]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=np.float64), name)
