"""Which interpreter a framework's exporter runs in: this one, or an environment of its own."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from slipway.errors import EnvironmentMissing, RequestError
from slipway.isolation.interpreters import Interpreter, examine, requirements
from slipway.settings import Settings
from slipway.specs import FRAMEWORKS, Framework

_PREFIX: Final = "SLIPWAY_PYTHON_"


def interpreter_for(framework: Framework, settings: Settings | None = None) -> Interpreter | None:
    """The environment that `SLIPWAY_PYTHON_<FRAMEWORK>` names; None for this one.

    Raises:
        RequestError: when such a variable names no framework.
        EnvironmentMissing: when it names no Python that starts.
    """
    settings = settings or Settings()
    if framework not in configured_frameworks(settings):
        return None
    variable = _PREFIX + framework.upper()
    return examine(settings.pythons[framework], named_by=variable)


def configured_frameworks(settings: Settings | None = None) -> tuple[Framework, ...]:
    """The frameworks with an environment of their own.

    Raises:
        RequestError: when a variable names no framework.
    """
    pythons = (settings or Settings()).pythons
    for name in pythons:
        if name not in FRAMEWORKS:
            near = difflib.get_close_matches(name, FRAMEWORKS, n=1)
            hint = f"; did you mean {_PREFIX}{near[0].upper()}?" if near else ""
            raise RequestError(
                f"{_PREFIX}{name.upper()} names no framework of {', '.join(FRAMEWORKS)}{hint}"
            )
    return tuple(framework for framework in FRAMEWORKS if framework in pythons)


@contextmanager
def explaining(framework: Framework, interpreter: Interpreter | None) -> Iterator[None]:
    """Say of a missing package where it has to be installed, and with what."""
    try:
        yield
    except EnvironmentMissing as error:
        if interpreter is None or str(interpreter.path) in str(error):
            raise
        bounds = requirements(framework).values() or [f"slipway[{framework}]"]
        wanted = " ".join(f"'{one}'" for one in bounds)
        raise EnvironmentMissing(
            f"{error}; it is missing where {_PREFIX}{framework.upper()} points: "
            f"{interpreter.path} -m pip install {wanted}"
        ) from error
