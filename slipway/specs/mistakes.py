"""What is wrong in a spec, in words: the place, the mistake, the nearest right name."""

import difflib
from typing import get_args, get_origin

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per mistake that pydantic found in what was meant for a model."""
    lines = []
    for mistake in error.errors():
        place = [str(part) for part in mistake["loc"]]
        dotted = ".".join(place) or "the spec"
        if mistake["type"] == "extra_forbidden":
            guess = _nearest_field(model, place)
            hint = f"; did you mean {guess!r}?" if guess else ""
            lines.append(f"{dotted}: no such key{hint}")
        elif mistake["type"] == "missing":
            lines.append(f"{dotted}: missing")
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            given = mistake["input"]
            shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
            lines.append(f"{dotted}: {message}{shown}" if place else message)
    return lines


def _nearest_field(model: type[BaseModel], place: list[str]) -> str | None:
    """The key that a misspelt one stands nearest to, among those allowed at its place."""
    parts = iter(place[:-1])
    for part in parts:
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if field is None:
            return None
        inner = [
            arg
            for arg in (field.annotation, *get_args(field.annotation))
            if isinstance(arg, type) and issubclass(arg, BaseModel)
        ]
        if not inner:
            return None
        if get_origin(field.annotation) is dict:
            next(parts, None)  # the entry's own name
        model = inner[0]
    names = [field.alias or name for name, field in model.model_fields.items()]
    matches = difflib.get_close_matches(place[-1], names, n=1, cutoff=0.5)
    return matches[0] if matches else None
