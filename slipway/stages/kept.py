"""What was downloaded before, so that an unchanged model is not downloaded again.

A note says: at this address stood what has these marks, and its bytes are in the store under this
digest. Marks are what the server answers cheaply and changes with every writing: S3's ETags and
sizes; MLflow's description of the model, and its list of files. Where the marks are the same and
the store has the bytes, those are used, and hashed again as at every use.
"""

import secrets
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from slipway.artifacts import ArtifactRef, Value, canonical_json, digest_bytes
from slipway.specs import Framework
from slipway.stages.workspace import Workspace
from slipway.stores.trees import contains_all

_FORM: Final = 1
"""Raised when other files of what is downloaded are kept than before."""

Marks = dict[str, str]


class Origin(Value):
    """What a registry said of the model that it gave."""

    uri: str
    """Address of the model's own file, with its version."""
    framework: Framework


class Kept(Value):
    """One note."""

    marks: Marks
    ref: ArtifactRef
    origin: Origin | None = None


def find_kept(work: Workspace, address: str, server: str) -> Kept | None:
    """The note of an address on a server, where the store still has what it tells of."""
    try:
        kept = Kept.model_validate_json(_path(work, address, server).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if contains_all(work.store, kept.ref) else None


def keep(work: Workspace, address: str, server: str, kept: Kept) -> None:
    """Write a note, where there are marks to know the model by."""
    if not kept.marks:
        return
    path = _path(work, address, server)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.write_text(kept.model_dump_json(), encoding="utf-8")
    temporary.replace(path)


def _path(work: Workspace, address: str, server: str) -> Path:
    about = [_FORM, work.store.uri, server, address]
    name = digest_bytes(canonical_json(about)).removeprefix("sha256:")
    return work.settings.root / "sources" / f"{name}.json"
