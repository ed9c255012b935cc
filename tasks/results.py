"""Where task results are kept: JSON, and only JSON, served only while the bytes they name exist.

A stored record names its own deserializer and classes, so whoever can write the storage could run
code on a worker that reads it. Every record is checked before Prefect sees it; one that fails is as
good as absent, and the task runs again.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer

from slipway.artifacts import ArtifactRef
from slipway.protocols import Store
from slipway.settings import Settings
from slipway.stores import open_store
from slipway.stores.trees import contains_all

_SERIALIZER: Final = JSONSerializer().model_dump(mode="json")
_REF_FIELDS: Final = frozenset(ArtifactRef.model_fields)


class RefusedRecordError(ValueError):
    """A stored record that must not be served; Prefect takes it as absent."""


class JsonResults(LocalFileSystem):
    """A folder of JSON records, written to a temporary name and renamed.

    Which folder and which store is decided by this machine's settings, never by the server, so
    the block is made at run time and not saved.
    """

    _block_type_slug = "slipway-json-results"

    def _resolve_path(self, path: str) -> Path:
        # One place decides where records are: the settings in force when a task runs.
        return LocalFileSystem(basepath=str(Settings().results))._resolve_path(path)  # noqa: SLF001

    def read_path(self, path: str, _sync: bool | None = None) -> bytes:  # type: ignore[override]
        """Read a record.

        Raises:
            RefusedRecordError: when it names another deserializer, foreign classes, or lost bytes.
        """
        content = self._resolve_path(path).read_bytes()
        check_record(content, open_store(Settings().store_uri))
        return content

    async def aread_path(self, path: str) -> bytes:
        """Read a record; see `read_path`."""
        return self.read_path(path)

    def write_path(self, path: str, content: bytes, _sync: bool | None = None) -> str:  # type: ignore[override]
        """Write a record whole or not at all."""
        target = self._resolve_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".record-")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(target)
        return str(target)

    async def awrite_path(self, path: str, content: bytes) -> str:
        """Write a record; see `write_path`."""
        return self.write_path(path, content)


def check_record(content: bytes, store: Store) -> None:
    """Refuse a record that could run code or that refers to bytes which are gone.

    Raises:
        RefusedRecordError: saying why.
    """
    try:
        record = json.loads(content)
        serializer = record["metadata"]["serializer"]
        result = json.loads(record["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedRecordError(f"not a JSON record: {error}") from error
    if serializer != _SERIALIZER:
        raise RefusedRecordError("the record names a deserializer other than plain JSON")
    for value in _objects(result):
        revived = value.get("__class__", "slipway.")
        if "__exc_type__" in value or not str(revived).startswith("slipway."):
            raise RefusedRecordError(
                f"the record revives {revived}, which is not a class of slipway"
            )
        if set(value) == _REF_FIELDS and not contains_all(store, ArtifactRef(**value)):
            raise RefusedRecordError(f"the bytes of {value['digest']} are gone from the store")


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
