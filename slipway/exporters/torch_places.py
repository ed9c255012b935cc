"""Where a program's operators come from: their module, their line of code, and their mode."""

import operator
import re
from pathlib import PurePath
from typing import Final

import torch

_TRAINING: Final = ("train", "training")
_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+)')


def training_places(graph: torch.fx.Graph) -> list[str]:
    """Operators that are told to train: dropout, and batch normalisation by its own batch."""
    return [place_of(node) for node in graph.nodes if _trains(node)]


def place_of(node: torch.fx.Node) -> str:
    """An operator, its module, and the line of code that it comes from, as far as is known."""
    if node.target is operator.getitem and isinstance(node.args[0], torch.fx.Node):
        return place_of(node.args[0])  # one of several outputs
    schema = getattr(node.target, "_schema", None)
    called = schema.name.replace("::", ".") if schema else str(node.name)
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    inside = ""
    if modules and modules[-1][0]:
        path, kind = modules[-1]
        shown = kind if isinstance(kind, str) else kind.__name__
        inside = f" in {path} ({shown.rpartition('.')[2]})"
    return f"{called}{inside}{_line(node)}"


def _line(node: torch.fx.Node) -> str:
    """The user's file and line; its folder belongs to the machine that saved the program."""
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in found if "/torch/nn/" not in file]
    if not own:
        return ""
    file, line = own[-1]
    return f", {PurePath(file).name}:{line}"


def _trains(node: torch.fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return False
    for position, argument in enumerate(schema.arguments):
        if argument.name in _TRAINING:
            given = node.args[position] if position < len(node.args) else None
            return bool(node.kwargs.get(argument.name, given))
    return False
