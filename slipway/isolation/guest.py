"""What the interpreter of another environment runs: the child, with this package lent to it.

Run by path, so that neither slipway nor anything else of the lending environment has to be
installed there, and nothing of it is seen there. Old interpreters must be able to read this file:
they are told what is wrong.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

OLDEST = (3, 11)


def main() -> None:
    """Arguments: the answer's descriptor, then `module=requirement` for all that is needed."""
    problem = _problem(sys.argv[2:])
    if not problem:
        _lend(Path(__file__).resolve().parents[1])
        _become_child()
    answer = {"error": {"type": "EnvironmentMissing", "message": problem}}
    os.write(int(sys.argv[1]), json.dumps(answer).encode())


def _become_child() -> NoReturn:
    from slipway.isolation import child

    child.main()


def _problem(needed: list[str]) -> str:
    if sys.version_info[:2] < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        return f"{sys.executable} is Python {found}; exporters need 3.11 or later"
    pairs = [text.partition("=")[::2] for text in needed]
    missing = [(module, what) for module, what in pairs if not importlib.util.find_spec(module)]
    if not missing:
        return ""
    modules = ", ".join(module for module, _ in missing)
    packages = " ".join(f"'{what}'" for _, what in missing)
    return (
        f"{sys.executable} lacks {modules}, which every exporter needs: "
        f"{sys.executable} -m pip install {packages}"
    )


def _lend(folder: Path) -> None:
    """Make the package in this folder importable, whatever that environment has of its name."""
    spec = importlib.util.spec_from_file_location(
        "slipway", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None  # noqa: S101 - the file is of this package
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    sys.modules["slipway"] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    main()
