"""What the text of a .pt2 program may hold: torch's loader and code generator evaluate parts of it.

`torch.export.load` hands symbolic sizes to sympify, which is `eval`, and writes names of inputs and
weights into the source of a `forward` that it executes. Neither needs a pickle.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from slipway.errors import UnreadableModel, UntrustedSource

# Functions of sympy, and of torch's own for sizes, that torch.export writes.
_FUNCTIONS: Final = frozenset(
    (  # noqa: SIM905 - fifty words are not easier to read as a list of literals
        "Symbol Integer Float Rational Add Mul Pow Max Min Abs floor ceiling log sqrt Piecewise "
        "ExprCondPair And Or Not Eq Ne Lt Le Gt Ge Equality Unequality LessThan StrictLessThan "
        "GreaterThan StrictGreaterThan FloorDiv ModularIndexing Where PythonMod Mod CleanDiv "
        "CeilToInt FloorToInt CeilDiv LShift RShift PowByNatural FloatPow FloatTrueDiv IntTrueDiv "
        "IsNonOverlappingAndDenseIndicator TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat "
        "Identity"
    ).split()
)
_CONSTANTS: Final = frozenset({"oo", "int_oo", "true", "false", "pi", "E"})
_SYMBOL: Final = re.compile(r"[a-z]{1,4}\d+")
_WORD: Final = re.compile(r"\w*")
_SYNTAX: Final = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.keyword, ast.Load),
    *(ast.operator, ast.unaryop, ast.boolop, ast.cmpop),
)
_CODE_CHARACTERS: Final = re.compile(r"[\s()\[\]{}'\"\\;=,]")
# Values that are never made into code, or (guards) are dropped before they are.
_PLAIN_TEXT: Final = frozenset({"metadata", "as_string", "as_strings", "guards_code"})


def check_program(data: bytes, where: str) -> None:
    """Refuse a serialized program whose text would run as code.

    Raises:
        UntrustedSource: showing the text.
        UnreadableModel: when it is no JSON.
    """
    try:
        texts = list(_texts(json.loads(data), ""))
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"{where} is malformed ({error})") from error
    for key, text in texts:
        if not (is_size(text) if key == "expr_str" else _is_name(text)):
            raise UntrustedSource(
                f"{where} holds {text[:80]!r} as {key}, which would run as code when loaded; save "
                "the program again with torch.export.save"
            )


def is_size(text: str) -> bool:
    """Whether a text is arithmetic on named sizes and nothing else."""
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(_is_harmless(node) for node in ast.walk(tree))


def _is_harmless(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name):
            return name in _FUNCTIONS | _CONSTANTS or bool(_SYMBOL.fullmatch(name))
        case ast.Constant(value=str(text)):
            return bool(_WORD.fullmatch(text))
        case ast.Constant(value=value):
            return isinstance(value, int | float)
        case ast.Call(func=function):
            return isinstance(function, ast.Name) and function.id in _FUNCTIONS
        case _:
            return isinstance(node, _SYNTAX)


def _is_name(text: str) -> bool:
    """Whether a text could stand in generated source without being more than a name.

    Without brackets, quotes and white space nothing can be called.
    """
    return not _CODE_CHARACTERS.search(text)


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - parsed JSON
    """Every text with the key that it stands under, keys of mappings included."""
    if isinstance(value, str):
        yield from _unpacked(value, key)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, dict):
        for name, item in value.items():
            # The keys of range constraints are sizes.
            yield ("expr_str" if key == "range_constraints" else key, name)
            if name not in _PLAIN_TEXT:
                yield from _texts(item, name)


def _unpacked(text: str, key: str) -> Iterator[tuple[str, str]]:
    """A text; where it is JSON itself, as the tree of the inputs is, the texts in it."""
    if text[:1] not in {"[", "{", '"'}:
        yield key, text
        return
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        yield key, text
        return
    yield from _texts(inner, key)
