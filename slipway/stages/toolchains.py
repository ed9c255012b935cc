"""Other environments to make models in: made once from a lock file, and asked by command line."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from pydantic import ValidationError

import slipway
from slipway.errors import EnvironmentMissing, SourceNotFound, Transient
from slipway.reports import NightlyReport, ToolchainReport
from slipway.settings import Settings
from slipway.specs import RegressionSpec, ToolchainSpec

_COMMAND: Final = "from slipway.cli import main; main()"
_INSTALL_LIMIT_S: Final = 3600.0
_TOLD_CHARACTERS: Final = 2000


def prepare_toolchain(toolchain: ToolchainSpec) -> Path:
    """The interpreter of a toolchain, whose environment is made where it is not there yet.

    One lock file is one environment, under the home's `toolchains`, by the file's digest. It is
    made beside its place and renamed, so an interrupted one is never used.

    Raises:
        SourceNotFound: when there is no such lock file or interpreter.
        EnvironmentMissing: when the environment cannot be made, with the installer's words.
    """
    if toolchain.python is not None:
        python = Path(toolchain.python).expanduser()
        if not python.is_file():
            raise SourceNotFound(f"no interpreter at {python}")
        return python
    if toolchain.lock is None:
        return Path(sys.executable)
    lock = Path(toolchain.lock).expanduser()
    try:
        digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    except OSError as error:
        raise SourceNotFound(f"no lock file at {lock} ({error.strerror})") from error
    folder = Settings().root / "toolchains" / digest[:16]
    ready = folder / ".ready"
    if not ready.exists():
        _make(folder, lock)
        ready.touch()
    return folder / "bin" / "python"


def _make(folder: Path, lock: Path) -> None:
    """An environment with what the lock file names, and this checkout of slipway."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        raise EnvironmentMissing(
            f"no {uv}: making an environment from a lock file needs uv; give an interpreter"
        )
    links = os.environ.get("PIP_FIND_LINKS")
    wheels = ["--find-links", links] if links else ["--torch-backend", "cpu"]
    python = str(folder / "bin" / "python")
    _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    install = [str(uv), "pip", "install", "--quiet", "--python", python]
    _run([*install, *wheels, "-r", str(lock)])
    _run([*install, "--no-deps", "--no-build-isolation", "--editable", str(checkout())])


def checkout() -> Path:
    """The folder that slipway is run from, where the flows are as well."""
    return Path(slipway.__file__).parents[1]


def _run(command: list[str]) -> None:
    ran = subprocess.run(  # noqa: S603 - a command of our own
        command, check=False, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S
    )
    if ran.returncode:
        raise EnvironmentMissing(f"{' '.join(command)} failed: {ran.stderr[-_TOLD_CHARACTERS:]}")


def run_in_toolchain(name: str, python: Path, request: RegressionSpec) -> ToolchainReport:
    """Run a regression with another interpreter's packages; its figures are a series of their own.

    Settings, store, registry and Prefect's server are those of this environment. Whatever goes
    wrong there is that toolchain's report, so that the others have theirs.
    """
    request = request.model_copy(update={"series": f"{request.series}-{name}"})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "request.json"
        file.write_text(request.model_dump_json(), encoding="utf-8")
        command = [str(python), "-c", _COMMAND, "regress", "--json", "--request", str(file)]
        ran = subprocess.run(  # noqa: S603 - a command of our own
            command, check=False, capture_output=True, text=True, cwd=checkout()
        )
    try:
        report = NightlyReport.model_validate_json(ran.stdout)
    except ValidationError:
        told = ran.stderr.strip()[-_TOLD_CHARACTERS:] or f"exit status {ran.returncode}"
        if ran.returncode == Transient.exit_code:
            raise Transient(f"{name}: {told}") from None
        return ToolchainReport(toolchain=name, passed=False, reason=told)
    return ToolchainReport(toolchain=name, passed=report.passed, report=report)
