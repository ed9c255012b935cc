"""A real Postgres server for a module of tests, from Debian's package."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.prefect_server import free_port

_USER = "postgres"


def missing() -> str | None:
    """Why there can be no server here."""
    if _programs() is None:
        return "no Postgres server: apt-get install --no-install-recommends postgresql"
    if os.getuid() == 0 and _USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"Postgres refuses to run as root, and there is no user {_USER}"
    return None


@contextmanager
def serving_postgres() -> Iterator[str]:
    """A server with an empty database; gives its address for SQLAlchemy and psycopg 3."""
    programs = _programs()
    assert programs is not None
    # Not in pytest's folder, which the user that the server runs as may not enter.
    folder = Path(tempfile.mkdtemp(prefix="slipway-postgres-", dir="/tmp"))
    data, port = folder / "data", free_port()
    try:
        if os.getuid() == 0:
            shutil.chown(folder, _USER, _USER)
        _run(programs / "initdb", "-D", data, "-U", "mlflow", "-A", "trust", "-E", "UTF8")
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        _run(programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://mlflow@127.0.0.1:{port}/postgres"
        finally:
            _run(programs / "pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _run(program: Path, *arguments: object) -> None:
    as_user = ["runuser", "-u", _USER, "--"] if os.getuid() == 0 else []
    ran = subprocess.run(
        [*as_user, str(program), *map(str, arguments)],
        stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
        stderr=subprocess.DEVNULL,
        cwd="/tmp",
        timeout=120,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"{program.name} failed with {ran.returncode}")
