"""Where task results are kept: JSON, and only JSON, served only while the bytes they name exist.

A stored record names its own deserializer and classes, so whoever can write the storage could run
code on a worker that reads it. Every record is checked before Prefect sees it; one that fails is as
good as absent, and the task runs again.
"""

import importlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer
from pydantic import ValidationError

from slipway.artifacts import ArtifactRef, Value
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
        return checked_record(content, open_store(Settings().store_uri))

    async def aread_path(self, path: str) -> bytes:
        """Read a record; see `read_path`."""
        return self.read_path(path)

    def write_path(self, path: str, content: bytes, _sync: bool | None = None) -> str:  # type: ignore[override]
        """Write a record whole or not at all."""
        target = self._resolve_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".record-{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return str(target)

    async def awrite_path(self, path: str, content: bytes) -> str:
        """Write a record; see `write_path`."""
        return self.write_path(path, content)


def checked_record(content: bytes, store: Store) -> bytes:
    """A record that can run no code and refers to no bytes that are gone, written anew.

    Written anew, so that what Prefect parses is what was checked here, to the letter: two parsers
    may read a doubtful text (a key that is there twice) in two ways.

    Raises:
        RefusedRecordError: saying why.
    """
    try:
        record = json.loads(content)
        serializer = record["metadata"]["serializer"]
        result = json.loads(record["result"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedRecordError(f"not a JSON record: {error}") from error
    if serializer != _SERIALIZER:
        raise RefusedRecordError("the record names a deserializer other than plain JSON")
    for value in _objects(result):
        _check_revived(value)
        if set(value) == _REF_FIELDS:
            _check_kept(value, store)
    return json.dumps({**record, "result": json.dumps(result)}).encode()


def _check_revived(value: dict[str, Any]) -> None:
    """Refuse what Prefect's decoder would make an object of, unless it is a value of ours."""
    if "__exc_type__" in value:
        raise RefusedRecordError(f"the record revives the exception {value['__exc_type__']}")
    if "__class__" not in value:
        return
    named = str(value["__class__"])
    module, _, name = named.rpartition(".")
    if not module.startswith("slipway."):
        raise RefusedRecordError(f"the record revives {named}, which is not a class of slipway")
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError:
        found = None
    if not (isinstance(found, type) and issubclass(found, Value)):
        # Prefect would hand the task's caller the bare JSON of a class that was moved.
        raise RefusedRecordError(f"the record revives {named}, and slipway has no such value")


def _check_kept(value: dict[str, Any], store: Store) -> None:
    try:
        ref = ArtifactRef.model_validate(value)
    except ValidationError as error:
        raise RefusedRecordError(f"the record holds a malformed reference: {error}") from error
    if not contains_all(store, ref):
        raise RefusedRecordError(f"the bytes of {ref.digest} are gone from the store")


def _objects(value: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
