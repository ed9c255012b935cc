"""What an option of a provider may be: its kind, and how onnxruntime wants its values written.

A provider that is given a value that it cannot read does not start, and onnxruntime then quietly
takes the CPU; one that does not know an option may just ignore it. So both are refused here.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from slipway.specs import OptionValue

_WORDS: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Kind:
    """The values of an option: in words, and as onnxruntime's text, or None for another value."""

    words: str
    write: Callable[[OptionValue], str | None]


def flag(on: str, off: str) -> Kind:
    """Yes or no, however a spec says it, in the spelling that the provider reads."""

    def write(value: OptionValue) -> str | None:
        said = _WORDS.get(str(value).lower())
        return None if said is None else on if said else off

    return Kind("true or false", write)


FLAG: Final = flag("1", "0")
NAMED_FLAG: Final = flag("True", "False")
"""For providers that read no digits here."""
TEXT: Final = Kind("a text", lambda value: value if isinstance(value, str) and value else None)


def whole(least: int = 0, most: int | None = None) -> Kind:
    """A whole number."""
    words = f"a whole number from {least}" + (f" to {most}" if most is not None else " up")

    def write(value: OptionValue) -> str | None:
        text = str(value)
        if isinstance(value, bool) or not re.fullmatch(r"-?\d+", text):
            return None
        return text if least <= int(text) and (most is None or int(text) <= most) else None

    return Kind(words, write)


def one_of(*choices: str) -> Kind:
    """A word of a list, to the letter."""
    return Kind(
        f"one of {', '.join(choices)}", lambda value: str(value) if str(value) in choices else None
    )


def matching(pattern: str, words: str) -> Kind:
    """A text of a form, which `words` describes."""
    return Kind(
        words, lambda value: str(value) if re.fullmatch(pattern, str(value)) is not None else None
    )


def _object(value: OptionValue) -> str | None:
    try:
        found = json.loads(str(value))
    except ValueError:
        return None
    return str(value) if isinstance(found, dict) else None


JSON_OBJECT: Final = Kind("a JSON object, as text", _object)
