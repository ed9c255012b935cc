"""Static rules over a parsed model, before any native parser walks its graph.

ONNX's checker and onnxruntime accept models that can never be right (NaN weights, training mode,
operators of nobody) and hang or run out of memory on others (functions that call functions). The
rules here cost milliseconds and name the place. A rule is a generator of findings: `RULES` is the
table, and a new rule is a line in it.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import SourceNotFound, UnreadableModel
from slipway.providers.signature import read_graph
from slipway.reports import Finding
from slipway.validation.behaviour import check_behaviour
from slipway.validation.functions import check_functions
from slipway.validation.naming import check_interface, check_names
from slipway.validation.operators import check_operators
from slipway.validation.tensors import check_sparse, check_tensors
from slipway.validation.versions import check_versions
from slipway.validation.walk import MAX_DEPTH, ModelWalk, walk_model

MAX_FILE_BYTES: Final = (1 << 31) - 1
"""What one protobuf message can hold; larger models keep their weights in external data."""

MAX_FINDINGS: Final = 20
"""Findings kept of one rule: the twenty-first says nothing new."""

Rule = Callable[[ModelWalk], Iterator[Finding]]


def check_depth(walk: ModelWalk) -> Iterator[Finding]:
    """Subgraphs nested deeper than anything real."""
    for place in walk.too_deep:
        message = f"subgraphs are nested more than {MAX_DEPTH} deep"
        yield Finding(level="error", code="subgraph-depth", message=message, place=place)


RULES: Final[tuple[Rule, ...]] = (
    check_depth,
    check_versions,
    check_functions,
    check_operators,
    check_interface,
    check_names,
    check_behaviour,
    check_sparse,
    check_tensors,
)


def read_bounded(path: Path) -> onnx.ModelProto:
    """Parse a model file, external data left alone, after a look at its size.

    Raises:
        SourceNotFound: when there is no file.
        UnreadableModel: when it is empty, too large for one protobuf, or no ONNX model.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise SourceNotFound(f"no model at {path}") from error
    if size == 0:
        raise UnreadableModel(f"{path.name} is empty; was it copied completely?")
    if size > MAX_FILE_BYTES:
        raise UnreadableModel(
            f"{path.name} has {size} bytes, more than a protobuf can hold ({MAX_FILE_BYTES}); "
            "save it with external data"
        )
    return read_graph(path)


def inspect_model(model: onnx.ModelProto, *, folder: Path) -> tuple[Finding, ...]:
    """All findings of all rules on a parsed model whose external data lies in `folder`."""
    walk = walk_model(model, folder=folder)
    return tuple(finding for rule in RULES for finding in islice(rule(walk), MAX_FINDINGS))


def preflight(path: Path) -> tuple[Finding, ...]:
    """What the static rules find in a model file; no native parser sees the graph.

    Raises:
        SourceNotFound, UnreadableModel: as `read_bounded` does.
    """
    return inspect_model(read_bounded(path), folder=path.parent)
