"""MLflow's SQLite file, with nothing but the standard library.

Two things are done here: the first use of the file is made safe for several processes, and a
registered model is read without importing MLflow, which costs more than two seconds. MLflow's
tables are its own: whatever looks other than expected is left to MLflow's client.
"""

import contextlib
import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.errors import RequestError
from slipway.registries.views import RegistryView

DIGEST_TAG: Final = "bundle_sha256"
"""The tag that makes registration exactly-once: the hexadecimal digest of the bundle."""

_DELETED: Final = "Deleted_Internal"  # MLflow keeps deleted versions as rows of this stage
_WORKSPACE: Final = "default"
_BUSY_S: Final = 1.0


def database_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` address, None for other addresses.

    Raises:
        RequestError: for SQLite without a file: it would be gone with the process.
    """
    if not uri.startswith("sqlite:"):
        return None
    path = re.sub(r"\?.*$", "", uri.removeprefix("sqlite:///"))
    if path == uri or path in {"", ":memory:"}:
        raise RequestError(f"{uri} names no file; give sqlite:///FILE or sqlite:////FOLDER/FILE")
    return Path(path).absolute()


@contextlib.contextmanager
def first_use(path: Path) -> Iterator[None]:
    """Hold the lock under which a process opens the database for the first time.

    MLflow 3.17 creates its tables without regard for others who do so at the same time: of four
    processes three crash ("table already exists"). The write-ahead log is switched on first (it
    stays on): without it, sixteen writers see "database is locked".
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back when the file is closed, or the process dies
        with contextlib.closing(sqlite3.connect(path, timeout=20.0)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        yield


def peek(path: Path, name: str) -> RegistryView | None:
    """Read a registered model's versions and aliases; None when in doubt, then ask MLflow.

    A file that is not there is no doubt: nothing is registered in it.
    """
    if os.environ.get("MLFLOW_WORKSPACE", _WORKSPACE) != _WORKSPACE:
        return None
    if not path.exists():
        return RegistryView(name, {}, {})
    try:
        uri = f"{path.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_S)) as connection:
            connection.execute("BEGIN")  # one moment for both readings
            tags = connection.execute(_VERSIONS, (DIGEST_TAG, _WORKSPACE, name)).fetchall()
            aliases = connection.execute(_ALIASES, (_WORKSPACE, name)).fetchall()
    except sqlite3.Error:
        return None
    if not all(isinstance(number, int) and _is_hex(digest) for number, digest in tags):
        return None
    return RegistryView(
        name, {number: f"sha256:{digest}" for number, digest in tags}, dict(aliases)
    )


def _is_hex(digest: object) -> bool:
    return isinstance(digest, str) and re.fullmatch(r"[0-9a-f]{64}", digest) is not None


_VERSIONS: Final = f"""
    SELECT version, tag.value FROM model_versions JOIN model_version_tags AS tag
    USING (workspace, name, version)
    WHERE tag.key = ? AND workspace = ? AND name = ?
    AND current_stage != '{_DELETED}' AND status = 'READY'
"""  # noqa: S608 - a constant of this file is put in, nothing from outside
_ALIASES: Final = """
    SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?
"""
