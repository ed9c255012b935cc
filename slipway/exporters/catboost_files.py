"""CatBoost's binary files, loaded by CatBoost and told by it as JSON.

A .cbm is a FlatBuffer that CatBoost verifies before it reads it; it runs no code.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import catboost

from slipway.errors import ExportFailed, UnreadableModel
from slipway.exporters.tree_files import check_start
from slipway.exporters.trees import Forest, Leaf, Split, Tree
from slipway.exporters.wording import first_lines

_MAGIC: Final = b"CBM1"
_HEADER: Final = 8
_MALFORMED: Final = (KeyError, ValueError, TypeError, IndexError, AttributeError)
_OTHER_FEATURES: Final = {
    "categorical_features": "which it knows by their hashes alone, so that no graph can find them: "
    "encode them as numbers before training",
    "text_features": "whose tokens ONNX does not know: give the model numbers",
    "embedding_features": "whose calculators ONNX does not know: give the model numbers",
}


@dataclass(frozen=True)
class CatBoostModel:
    """What a file says."""

    loss: str
    forest: Forest
    names: tuple[str, ...]
    named: bool
    classes: tuple[Any, ...]  # empty for regressors, and where labels were shares
    threshold: float  # of two classes, the second's probability from which it is the label


def load_booster(path: Path) -> catboost.CatBoost:
    """The model in a .cbm file.

    Raises:
        SourceNotFound, UnreadableModel, UntrustedSource: as for every source.
    """
    check_start(
        path,
        _MAGIC,
        otherwise="is no CatBoost binary; save the model with save_model('model.cbm')",
        pickled="its save_model('model.cbm')",
    )
    with path.open("rb") as file:
        head = file.read(_HEADER)
    if int.from_bytes(head[4:], "little") + _HEADER > path.stat().st_size:
        raise UnreadableModel(f"{path.name} is shorter than its header says; truncated?")
    try:
        return catboost.CatBoost().load_model(str(path))
    except (catboost.CatBoostError, ValueError, TypeError) as error:
        raise UnreadableModel(
            f"{path.name} cannot be loaded ({first_lines(error)}); damaged?"
        ) from error


def read_model(booster: catboost.CatBoost, path: Path, scratch: Path) -> CatBoostModel:
    """What a loaded model says of itself; a file in `scratch` is written and removed.

    Raises:
        UnreadableModel, ExportFailed: naming `path`.
    """
    told = scratch / "catboost.json"
    try:
        booster.save_model(str(told), format="json")
        document = json.loads(told.read_text())
    except (catboost.CatBoostError, ValueError) as error:
        raise ExportFailed(
            f"{path.name}: CatBoost does not tell its trees: {first_lines(error)}"
        ) from error
    finally:
        told.unlink(missing_ok=True)
    try:
        return _model(document, [str(name) for name in booster.feature_names_])
    except ExportFailed as error:
        raise ExportFailed(f"{path.name}: {error}") from error
    except _MALFORMED as error:
        raise UnreadableModel(
            f"{path.name} is a damaged CatBoost model ({type(error).__name__}: {error})"
        ) from error


def _model(document: Any, names: list[str]) -> CatBoostModel:  # noqa: ANN401
    information = document["features_info"]
    for kind, problem in _OTHER_FEATURES.items():
        if information.get(kind):
            columns = ", ".join(names[it["flat_feature_index"]] for it in information[kind])
            raise ExportFailed(f"it has {kind.replace('_', ' ')} ({columns}), {problem}")
    about = document["model_info"]
    classes = about.get("class_params", {}).get("class_names", [])
    return CatBoostModel(
        loss=_loss(about),
        forest=_forest(document, information["float_features"]),
        names=tuple(names),
        named=names != [str(index) for index in range(len(names))],
        classes=tuple(classes),
        threshold=float(about.get("binclass_probability_threshold", 0.5)),
    )


def _loss(about: Mapping[str, Any]) -> str:
    parameters = about.get("params", {})
    if isinstance(parameters, str):
        parameters = json.loads(parameters)
    loss = parameters.get("loss_function", {}).get("type")
    if not loss:
        raise ExportFailed("it does not say its loss function, which decides what it answers")
    return str(loss)


def _forest(document: Any, columns: Sequence[Mapping[str, Any]]) -> Forest:  # noqa: ANN401
    scale, bias = document["scale_and_bias"]
    by_index = {column["feature_index"]: column for column in columns}
    if document.get("oblivious_trees"):
        trees = [
            _oblivious(tree, by_index, float(scale), len(bias))
            for tree in document["oblivious_trees"]
        ]
    else:
        trees = [_branching(tree, by_index, float(scale)) for tree in document.get("trees", ())]
    return Forest(tuple(trees), tuple(float(value) for value in bias))


Columns = Mapping[int, Mapping[str, Any]]


def _oblivious(tree: Any, columns: Columns, scale: float, targets: int) -> Tree:  # noqa: ANN401
    """One split a level: the leaf's number has a bit for each, the first split's the lowest."""
    splits, values = tree["splits"] or [], tree["leaf_values"]
    depth = len(splits)
    if len(values) != targets << depth:
        raise ValueError(f"{len(values)} leaf values for {depth} splits and {targets} targets")
    inner = (1 << depth) - 1
    nodes: list[Split | Leaf] = [
        _split(splits[depth - (node + 1).bit_length()], columns, yes=2 * node + 2, no=2 * node + 1)
        for node in range(inner)
    ]
    for leaf in range(inner + 1):
        numbers = values[leaf * targets : (leaf + 1) * targets]
        nodes.append(_leaf(numbers, scale))
    return nodes


def _branching(tree: Any, columns: Columns, scale: float) -> Tree:  # noqa: ANN401
    """Splits of their own in each branch, as nested objects."""
    nodes: list[Any] = [None]
    pending = [(0, tree)]
    while pending:
        place, node = pending.pop()
        if "split" not in node:
            value = node["value"]
            nodes[place] = _leaf(value if isinstance(value, list) else [value], scale)
            continue
        no, yes = len(nodes), len(nodes) + 1
        nodes += [None, None]
        nodes[place] = _split(node["split"], columns, yes=yes, no=no)
        pending += [(no, node["left"]), (yes, node["right"])]
    return nodes


def _split(split: Mapping[str, Any], columns: Columns, *, yes: int, no: int) -> Split:
    if split["split_type"] != "FloatFeature":
        raise ExportFailed(f"it splits by {split['split_type']}, which no graph can repeat")
    column = columns[split["float_feature_index"]]
    return Split(
        feature=int(column["flat_feature_index"]),
        mode="BRANCH_GT",
        value=float(split["border"]),
        yes=yes,
        no=no,
        missing_yes=column["nan_value_treatment"] == "AsTrue",
    )


def _leaf(values: Sequence[float], scale: float) -> Leaf:
    return Leaf(tuple((target, scale * float(value)) for target, value in enumerate(values)))
