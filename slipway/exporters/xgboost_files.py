"""XGBoost's JSON and UBJ files, read and checked before the native library sees them.

XGBoost crashes on trees whose children are out of range or cyclic; such files are refused here.
The schema: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.errors import ExportFailed, UnreadableModel
from slipway.exporters.tree_files import check_start, naming_the_file
from slipway.exporters.trees import Leaf, Member, Split, Tree, check_children
from slipway.exporters.ubjson import read_ubjson

_MALFORMED: Final = (KeyError, ValueError, TypeError, AttributeError, IndexError, RecursionError)
_CATEGORICAL: Final = 1
_MAX_CODE: Final = 1 << 24  # beyond, neighbouring codes are one float32


@dataclass(frozen=True)
class XGBoostModel:
    """What a file says: trees or weights, how sums begin, and the objective behind them."""

    objective: str
    booster: str
    base_score: tuple[float, ...]  # as predictions; the objective says how they become margins
    trees: tuple[Tree, ...]  # those that answers are made of
    linear: tuple[float, ...]  # gblinear's weights [features, targets], then its biases
    targets: int
    names: tuple[str, ...]  # empty where the training data had none
    feature_types: tuple[str, ...]
    features: int
    rounds: int | None  # how many of them answers are made of; None: all
    wrapped: bool  # saved by one of the scikit-learn classes, which stop at the best iteration
    recoded: bool  # trained on a table whose categories have a coding of their own


def read_model(path: Path) -> XGBoostModel:
    """The model in a .json or .ubj file, told apart by content.

    Raises:
        SourceNotFound, UnreadableModel, UntrustedSource: as for every source.
        ExportFailed: when it is a model of a kind that is not exported.
    """
    document = _document(path)
    with naming_the_file(
        path, malformed=_MALFORMED, damaged="is no XGBoost model, or a damaged one"
    ):
        return _model(document)


def _document(path: Path) -> Any:  # noqa: ANN401
    check_start(
        path,
        b"{",
        otherwise="is neither XGBoost's JSON nor its UBJ; save the model with "
        "save_model('model.ubj')",
        pickled="its save_model('model.ubj')",
    )
    data = path.read_bytes()
    try:
        return json.loads(data) if data[1:2] in b'" \n\r\t}' else read_ubjson(data)
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"{path.name} cannot be read ({error}); truncated?") from error


def _model(document: Any) -> XGBoostModel:  # noqa: ANN401
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    booster = learner["gradient_booster"]
    features = int(parameters["num_feature"])
    targets = max(1, int(parameters["num_class"]), int(parameters.get("num_target", 1)))
    rounds = _rounds(learner.get("attributes", {}))
    names = tuple(str(name) for name in learner.get("feature_names", ()))
    if len(names) not in {0, features} or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} names for {features} features")
    trees: tuple[Tree, ...] = ()
    linear: tuple[float, ...] = ()
    recoded = False
    if booster["name"] == "gblinear":
        linear = tuple(float(weight) for weight in booster["model"]["weights"])
        if len(linear) != (features + 1) * targets:
            raise ValueError(f"{len(linear)} linear weights for {features} features")
    else:
        trees, recoded = _trees(booster, features, targets, rounds)
    return XGBoostModel(
        objective=str(learner["objective"]["name"]),
        booster=str(booster["name"]),
        base_score=_base_score(parameters["base_score"], targets),
        trees=trees,
        linear=linear,
        targets=targets,
        names=names,
        feature_types=tuple(str(kind) for kind in learner.get("feature_types", ())),
        features=features,
        rounds=rounds if trees else None,
        wrapped="scikit_learn" in learner.get("attributes", {}),
        recoded=recoded,
    )


def _rounds(attributes: Mapping[str, Any]) -> int | None:
    best = attributes.get("best_iteration")
    return None if best is None else int(best) + 1


def _base_score(text: Any, targets: int) -> tuple[float, ...]:  # noqa: ANN401
    found = json.loads(text) if isinstance(text, str) else text
    scores = tuple(float(score) for score in (found if isinstance(found, list) else [found]))
    if len(scores) == 1:
        return scores * targets
    if len(scores) != targets:
        raise ValueError(f"{len(scores)} base scores for {targets} targets")
    return scores


def _trees(
    booster: Any,  # noqa: ANN401
    features: int,
    targets: int,
    rounds: int | None,
) -> tuple[tuple[Tree, ...], bool]:
    dart = booster["name"] == "dart"
    model = booster["gbtree"]["model"] if dart else booster["model"]
    count, owners = len(model["trees"]), model["tree_info"]
    factors = booster["weight_drop"] if dart else [1.0] * count
    if not len(owners) == len(factors) == count:
        raise ValueError("the numbers of trees, targets and weights differ")
    if any(not 0 <= owner < targets for owner in owners):
        raise ValueError("a tree adds to a target that is not there")
    made = tuple(
        _tree(tree, features, _leaves(tree, int(owner), float(factor), targets), f"tree {index}")
        for index, (tree, owner, factor) in enumerate(
            zip(model["trees"], owners, factors, strict=True)
        )
    )
    used = count if rounds is None else _used(model, rounds, targets)
    return made[:used], bool((model.get("cats") or {}).get("enc"))


def _used(model: Any, rounds: int, targets: int) -> int:  # noqa: ANN401
    """How many trees the first rounds have; before 2.1 files did not say."""
    bounds = model.get("iteration_indptr")
    if bounds is None:
        each = int(model["gbtree_model_param"]["num_parallel_tree"]) * targets
        bounds = range(0, len(model["trees"]) + 1, each)
    if not 0 < rounds < len(bounds):
        raise ValueError(f"its best iteration is {rounds - 1} of {len(bounds) - 1}")
    used = int(bounds[rounds])
    if not 0 <= used <= len(model["trees"]):
        raise ValueError(f"an iteration ends at tree {used} of {len(model['trees'])}")
    return used


def _tree(tree: Any, features: int, leaves: Mapping[int, Leaf], what: str) -> Tree:  # noqa: ANN401
    left, right = tree["left_children"], tree["right_children"]
    count = len(left)
    columns = [right, *(tree[key] for key in ("split_indices", "split_conditions", "default_left"))]
    kinds = tree.get("split_type") or [0] * count
    if not count or any(len(column) != count for column in (*columns, kinds)):
        raise UnreadableModel(f"{what} is damaged: its columns differ in length")
    check_children(left, right, what=what)
    sets = _sets(tree)
    nodes: list[Split | Member | Leaf] = []
    for node in range(count):
        if left[node] < 0:
            nodes.append(leaves[node])
            continue
        yes, no = int(left[node]), int(right[node])
        feature, missing_left = int(tree["split_indices"][node]), bool(tree["default_left"][node])
        if not 0 <= feature < features:
            raise UnreadableModel(f"{what} splits on feature {feature} of {features}")
        if kinds[node] == _CATEGORICAL:  # those of the set go right
            nodes.append(Member(feature, sets[node], no, yes, missing_yes=not missing_left))
            continue
        threshold = float(np.float32(tree["split_conditions"][node]))
        nodes.append(Split(feature, "BRANCH_LT", threshold, yes, no, missing_yes=missing_left))
    return nodes


def _leaves(tree: Any, owner: int, factor: float, targets: int) -> dict[int, Leaf]:  # noqa: ANN401
    """Leaves by node; one number each, or since 3.1 one for every target."""
    leaves = [node for node, child in enumerate(tree["left_children"]) if child < 0]
    width = int(tree["tree_param"]["size_leaf_vector"])
    if width <= 1:
        values = tree["split_conditions"]
        return {node: Leaf(((owner, factor * float(np.float32(values[node]))),)) for node in leaves}
    if "leaf_weights" not in tree:
        raise ExportFailed(
            "its trees have a vector in each leaf, in the form of an older XGBoost; load it with "
            "XGBoost 3.2 and save it again"
        )
    if width != targets or len(tree["leaf_weights"]) != width * len(leaves):
        raise ValueError(f"leaves of {width} numbers for {targets} targets")
    table = (
        np.asarray(tree["leaf_weights"], dtype=np.float32).astype(np.float64).reshape(-1, width)
        * factor
    )
    return {
        node: Leaf(tuple(enumerate(table[tree["right_children"][node]].tolist())))
        for node in leaves
    }


def _sets(tree: Any) -> dict[int, tuple[int, ...]]:  # noqa: ANN401
    """The codes that each categorical node sends to the right."""
    codes = tree.get("categories") or []
    found = {}
    for node, start, size in zip(
        *(tree.get(f"categories_{key}") or [] for key in ("nodes", "segments", "sizes")),
        strict=True,
    ):
        chosen = tuple(sorted({int(code) for code in codes[start : start + size]}))
        if start < 0 or len(chosen) != size or not 0 <= chosen[0] <= chosen[-1] < _MAX_CODE:
            raise ValueError(f"node {node} tests for categories that are not there")
        found[int(node)] = chosen
    return found
