"""LightGBM's text files, read and checked before the native library sees them.

LightGBM crashes or hangs on half of all damaged files; they are refused here. The form is what
`GBDT::SaveModelToString` and `Tree::ToString` of LightGBM 4 write.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from slipway.errors import UnreadableModel
from slipway.exporters.tree_files import check_start, naming_the_file
from slipway.exporters.trees import check_children

_CATEGORICAL, _DEFAULT_LEFT = 1, 2  # bits of decision_type; above them, how values are missing
ZERO, NAN = 1, 2
_MISSING_KINDS: Final = frozenset({0, ZERO, NAN})
_END: Final = "end of trees\n"
_MALFORMED: Final = (KeyError, ValueError, IndexError, OverflowError)

Fields = Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """An inner node: numbers up to the threshold, or codes of the set, go left."""

    feature: int
    threshold: float
    codes: tuple[int, ...] | None  # None: it compares with the threshold
    default_left: bool
    missing: int  # 0: NaN is 0; ZERO: 0 and NaN are missing; NAN: NaN is
    left: int
    right: int


@dataclass(frozen=True)
class LinearLeaf:
    """A leaf's value, or a plane over some features where they are all known."""

    value: float
    constant: float = 0.0
    slopes: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class TextTree:
    """Nodes by number, the leaves after the inner ones; node 0 is the root."""

    nodes: tuple[Node | LinearLeaf, ...]
    linear: bool


@dataclass(frozen=True)
class LightGBMModel:
    """What a file says."""

    objective: str  # its name; empty for gradients of the user's own
    settings: Mapping[str, str]  # the objective's, such as sigmoid
    averaged: bool  # a random forest
    targets: int
    names: tuple[str, ...]
    named: bool
    ranges: tuple[tuple[float, float] | None, ...]  # of numbers in the training data
    trees: tuple[TextTree, ...]  # tree i adds to target i % targets
    recoded: bool  # trained on a table whose categories have a coding of their own


def read_model(path: Path) -> LightGBMModel:
    """The model in a text file.

    Raises:
        SourceNotFound, UnreadableModel, UntrustedSource: as for every source.
        ExportFailed: when it is a model of a kind that is not exported.
    """
    text = _text(path)
    with naming_the_file(path, malformed=_MALFORMED, damaged="is a damaged LightGBM model"):
        return _model(text)


def _text(path: Path) -> str:
    check_start(
        path,
        b"tree\n",
        otherwise="is no LightGBM text; save the model with save_model('model.txt')",
        pickled="booster_.save_model('model.txt')",
    )
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UnreadableModel(f"{path.name} is damaged: {error}") from error


def _model(text: str) -> LightGBMModel:
    head, rest = _cut(text, "\n\n", "its header does not end; truncated?")
    header = _fields(head.splitlines()[1:])
    body, tail = _cut(rest.lstrip("\n"), _END, "it does not end its trees; truncated?")
    recoded = _read_tail(tail)
    features = int(header["max_feature_idx"]) + 1
    names = tuple(header["feature_names"].split(" "))
    targets = int(header["num_tree_per_iteration"])
    blocks = _blocks(body, [int(size) for size in header["tree_sizes"].split()])
    if len(names) != features or len(set(names)) != features or targets < 1:
        raise ValueError(f"{len(names)} names for {features} features")
    if len(blocks) % targets:
        raise ValueError(f"{len(blocks)} trees for {targets} targets")
    objective, *settings = header.get("objective", "").split(" ")
    return LightGBMModel(
        objective=objective,
        settings=dict(setting.partition(":")[::2] for setting in settings),
        averaged="average_output" in header,
        targets=targets,
        names=names,
        named=names != tuple(f"Column_{index}" for index in range(features)),
        ranges=tuple(_range(info) for info in header["feature_infos"].split(" ")),
        trees=tuple(_tree(index, _fields(block), features) for index, block in enumerate(blocks)),
        recoded=recoded,
    )


def _cut(text: str, mark: str, problem: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise UnreadableModel(problem)
    return before, after


def _fields(lines: list[str]) -> Fields:
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        if key in found:
            raise ValueError(f"{key} is there twice")
        found[key] = value
    return found


def _read_tail(tail: str) -> bool:
    """Whether categories were coded; the parameters are not needed, but must be whole."""
    _, end = _cut(tail, "\nend of parameters\n", "its parameters do not end; truncated?")
    end = end.strip()
    if not end:  # LightGBM's own command line writes no more
        return False
    key, _, value = end.partition(":")
    if key != "pandas_categorical":
        raise ValueError(f"it ends with {end[:40]!r}; truncated?")
    return bool(json.loads(value))


def _blocks(body: str, sizes: list[int]) -> list[list[str]]:
    """The trees' lines; LightGBM jumps by these sizes without looking."""
    data, place, blocks = body.encode(), 0, []
    for index, size in enumerate(sizes):
        block = data[place : place + size] if size > 0 else b""
        lines = block.decode().split("\n")
        if lines[0] != f"Tree={index}" or not block.endswith(b"\n"):
            raise ValueError(f"tree {index} is not where the header says")
        blocks.append([line for line in lines[1:] if line])
        place += size
    if data[place:].strip():
        raise ValueError("there are more trees than the header says")
    return blocks


def _range(info: str) -> tuple[float, float] | None:
    if not info.startswith("["):
        return None
    low, _, high = info.strip("[]").partition(":")
    return float(low), float(high)


def _tree(index: int, fields: Fields, features: int) -> TextTree:
    count = int(fields["num_leaves"])
    inner = count - 1
    leaves = _leaves(fields, count, features)
    if not inner:
        return TextTree(leaves, linear=fields.get("is_linear") == "1")
    left, right = _integers(fields, "left_child", inner), _integers(fields, "right_child", inner)
    # A leaf's number is given as its complement; here leaves come after the inner nodes.
    lefts, rights = (
        [child if child >= 0 else inner + ~child for child in column] for column in (left, right)
    )
    ends = [-1] * count
    check_children([*lefts, *ends], [*rights, *ends], what=f"tree {index}")
    columns = {key: _integers(fields, key, inner) for key in ("split_feature", "decision_type")}
    thresholds = _floats(fields, "threshold", inner)
    sets = _sets(fields)
    nodes = []
    for node in range(inner):
        feature, decision = columns["split_feature"][node], columns["decision_type"][node]
        if not 0 <= feature < features:
            raise UnreadableModel(f"tree {index} splits on feature {feature} of {features}")
        if decision >> 2 not in _MISSING_KINDS or not np.isfinite(thresholds[node]):
            raise UnreadableModel(f"tree {index}: node {node} decides in an unknown way")
        nodes.append(
            Node(
                feature=feature,
                threshold=thresholds[node],
                codes=sets[int(thresholds[node])] if decision & _CATEGORICAL else None,
                default_left=bool(decision & _DEFAULT_LEFT),
                missing=decision >> 2,
                left=lefts[node],
                right=rights[node],
            )
        )
    return TextTree((*nodes, *leaves), linear=fields.get("is_linear") == "1")


def _leaves(fields: Fields, count: int, features: int) -> tuple[LinearLeaf, ...]:
    if count < 1:
        raise ValueError(f"a tree of {count} leaves")
    values = _floats(fields, "leaf_value", count)
    if fields.get("is_linear") != "1":
        return tuple(LinearLeaf(value) for value in values)
    constants = _floats(fields, "leaf_const", count)
    widths = _integers(fields, "num_features", count)
    columns = _integers(fields, "leaf_features", sum(widths))
    slopes = _floats(fields, "leaf_coeff", sum(widths))
    if min(widths) < 0 or not all(0 <= column < features for column in columns):
        raise ValueError("a leaf's plane is over features that are not there")
    pairs = iter(zip(columns, slopes, strict=True))
    return tuple(
        LinearLeaf(value, constant, tuple(next(pairs) for _ in range(width)))
        for value, constant, width in zip(values, constants, widths, strict=True)
    )


def _sets(fields: Fields) -> tuple[tuple[int, ...], ...]:
    """The codes that categorical nodes send to the left, by the number of the set."""
    count = int(fields.get("num_cat", "0"))
    if not count:
        return ()
    bounds = _integers(fields, "cat_boundaries", count + 1)
    words = _integers(fields, "cat_threshold", bounds[-1])
    if bounds[0] != 0 or sorted(bounds) != bounds or not all(0 <= word < 1 << 32 for word in words):
        raise ValueError("its sets of categories are damaged")
    return tuple(
        tuple(
            32 * place + bit
            for place, word in enumerate(words[start:stop])
            for bit in range(32)
            if word >> bit & 1
        )
        for start, stop in itertools.pairwise(bounds)
    )


def _integers(fields: Fields, key: str, count: int) -> list[int]:
    found = [int(number) for number in fields[key].split()]
    if len(found) != count:
        raise ValueError(f"{key} has {len(found)} numbers where {count} belong")
    return found


def _floats(fields: Fields, key: str, count: int) -> list[float]:
    found = [float(number) for number in fields[key].split()]
    if len(found) != count:
        raise ValueError(f"{key} has {len(found)} numbers where {count} belong")
    return found
