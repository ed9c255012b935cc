"""The user's factory: code, named in the spec, that builds the module for a state dict."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway.errors import ExportFailed, SpecError
from slipway.protocols import ExportRequest


def build_from_factory(request: ExportRequest) -> Any:  # noqa: ANN401 - whatever the user builds
    """Call the factory with its arguments.

    Raises:
        SpecError: when there is none, or it does not name a callable.
        ExportFailed: when it raises.
    """
    factory = _find(request)
    try:
        return factory(**request.source.factory_arguments)
    except MemoryError:
        raise  # the limit's doing, and told as such
    except Exception as error:
        raise ExportFailed(
            f"the factory {request.source.factory} raised {type(error).__name__}: {error}",
            facts={"kind": "factory"},
        ) from error


def _find(request: ExportRequest) -> Callable[..., Any]:
    named = request.source.factory
    if not named:
        raise SpecError(
            "a state dict holds weights and no model: set source.factory to what builds it, "
            "`package.module:callable` or `file.py:callable`"
        )
    module_name, separator, name = named.rpartition(":")
    if not separator:
        raise SpecError(f"source.factory: {named!r} names no callable; write module:callable")
    try:
        module = (
            _load_file(request.factory_path)
            if request.factory_path
            else importlib.import_module(module_name)
        )
    except Exception as error:
        raise SpecError(
            f"source.factory: cannot import {module_name} ({type(error).__name__}: {error})"
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise SpecError(f"source.factory: {module_name} has no callable {name!r}")
    return found  # type: ignore[no-any-return]


def _load_file(path: Path) -> Any:  # noqa: ANN401 - a module of the user's
    spec = importlib.util.spec_from_file_location("slipway_user_factory", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
