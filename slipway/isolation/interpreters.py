"""Other environments' interpreters: what they are, and which packages they have."""

import os
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from slipway.artifacts import Value
from slipway.errors import EnvironmentMissing

ABSENT: Final = "absent"
"""In a version's place, where a package is not installed."""

_PATIENCE_S: Final = 60
_PASSED_ON: Final = ("PATH", "LD_LIBRARY_PATH", "TZ")
_QUESTION: Final = """
import importlib.metadata, json, os, platform, sys
found = {}
for one in importlib.metadata.distributions():
    name = one.metadata["Name"]
    if name and one.version:
        found.setdefault(name, one.version)
folders = [path for path in sys.path if os.path.isdir(path)]
print()
print(json.dumps({"version": platform.python_version(), "packages": found, "folders": folders}))
"""


class Interpreter(Value):
    """A Python program and its environment."""

    path: Path
    version: str
    packages: dict[str, str]
    """Versions by name, normalised as the package index does."""

    def versions(self, packages: Iterable[str]) -> dict[str, str]:
        """Versions by package; `absent` where there is none."""
        return {name: self.packages.get(_normal(name), ABSENT) for name in sorted(packages)}


def versions_here(packages: Iterable[str]) -> dict[str, str]:
    """The same of this environment; nothing is imported."""
    return {name: _version(name) for name in sorted(packages)}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


class _Answer(Value):
    version: str
    packages: dict[str, str]
    folders: tuple[Path, ...]


# What was found, and the times by which a later change shows: an installed or removed package
# changes the folder that it is in.
_Stamps = tuple[tuple[Path, int], ...]
_KNOWN: Final[dict[Path, tuple[_Stamps, Interpreter]]] = {}


def examine(path: Path, *, named_by: str) -> Interpreter:
    """Ask an interpreter what it has; asked again only when its environment has changed.

    Args:
        path: The program, such as `/opt/tensorflow/bin/python`.
        named_by: For messages: the variable that names it.

    Raises:
        EnvironmentMissing: when it is no Python that starts, naming the variable and the path.
    """
    known = _KNOWN.get(path)
    if known is not None and _stamps(place for place, _ in known[0]) == known[0]:
        return known[1]
    answer = _ask(path, named_by)
    packages = {_normal(name): version for name, version in answer.packages.items()}
    found = Interpreter(path=path, version=answer.version, packages=packages)
    _KNOWN[path] = (_stamps((path, *answer.folders)), found)
    return found


def requirements(extra: str = "") -> dict[str, str]:
    """What slipway itself, or one of its extras, asks for: requirement by package."""
    try:
        asked = requires("slipway") or []
    except PackageNotFoundError:
        return {}
    found = {}
    for line in asked:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and (wanted[1] if wanted else "") == extra:
            found[_normal(name[0])] = requirement
    return found


def _ask(path: Path, named_by: str) -> _Answer:
    where = f"{named_by}={path}"
    try:
        done = subprocess.run(  # noqa: S603 - the interpreter that the user configured
            [str(path), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            timeout=_PATIENCE_S,
            check=True,
        )
        return _Answer.model_validate_json(done.stdout.splitlines()[-1])
    except OSError as error:
        problem = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        problem = f"it does not answer within {_PATIENCE_S} s"
    except subprocess.CalledProcessError as error:
        last = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        problem = f"it ends with status {error.returncode} {' '.join(last)}".rstrip()
    except (ValidationError, IndexError):
        problem = "it does not answer as Python does"
    raise EnvironmentMissing(f"{where} is no Python that can be used: {problem}; correct the path")


def _stamps(places: Iterable[Path]) -> _Stamps:
    found = []
    for place in places:
        try:
            found.append((place, place.stat().st_mtime_ns))
        except OSError:
            found.append((place, 0))
    return tuple(found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
