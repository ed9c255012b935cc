"""Bytes in this process's memory: for tests, demonstrations and short-lived runs."""

import contextlib
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from slipway.artifacts import OCTETS_MEDIA_TYPE, ArtifactRef, digest_bytes
from slipway.errors import (
    IntegrityError,
    RequestError,
    SourceNotFound,
    StoreUnavailable,
    os_failure,
)
from slipway.protocols import StoredObject
from slipway.stores.copying import reading, record_path
from slipway.stores.traffic import count

_LOCK = threading.Lock()
_Kept = tuple[dict[str, bytes], dict[str, float], dict[str, bytes]]
_SHARED: defaultdict[str, _Kept] = defaultdict(lambda: ({}, {}, {}))


class MemoryStore:
    """A store whose bytes live as long as the process.

    Stores of one name share their bytes, so that `memory://NAME` means the same to all tasks of a
    process; without a name the store is private.
    """

    def __init__(self, name: str = "") -> None:
        self.uri = f"memory://{name}"
        with _LOCK:
            self._bytes, self._times, self._records = _SHARED[name] if name else ({}, {}, {})

    def put_file(self, path: Path, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Read the file into memory."""
        with reading(path):
            data = path.read_bytes()
        return self.put_bytes(data, media_type=media_type)

    def put_bytes(self, data: bytes, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Keep the bytes."""
        digest = digest_bytes(data)
        with _LOCK:
            if digest not in self._bytes:
                self._bytes[digest] = bytes(data)
                count(written_bytes=len(data))
            self._times[digest] = time.time()
        return ArtifactRef(
            uri=f"{self.uri}/{digest}",
            digest=digest,
            size_bytes=len(data),
            media_type=media_type,
        )

    def fetch_file(self, digest: str, target: Path) -> None:
        """Write the bytes to a new file, which appears when it is complete."""
        if target.exists() or target.is_symlink():
            raise RequestError(f"{target} exists already; fetch to a new path")
        data = self.read_bytes(digest)
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(data)
            temporary.replace(target)
        except OSError as error:
            raise os_failure(error, f"writing {target}", transient=StoreUnavailable) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def read_bytes(self, digest: str) -> bytes:
        """The bytes, hashed again."""
        with _LOCK:
            data = self._bytes.get(digest)
        if data is None:
            raise SourceNotFound(f"{self.uri} holds no {digest}")
        if digest_bytes(data) != digest:
            self.delete(digest)
            raise IntegrityError(f"{self.uri} held other bytes under {digest}; they are dropped")
        count(read_bytes=len(data))
        return data

    def contains(self, digest: str) -> bool:
        """Whether the bytes are there."""
        return digest in self._bytes

    def listing(self) -> Iterator[StoredObject]:
        """All objects at the time of the call."""
        with _LOCK:
            return iter(
                [
                    StoredObject(
                        digest=digest, size_bytes=len(data), modified_s=self._times[digest]
                    )
                    for digest, data in self._bytes.items()
                ]
            )

    def digests(self) -> Iterator[str]:
        """All digests at the time of the call."""
        return (stored.digest for stored in self.listing())

    def delete(self, digest: str) -> None:
        """Forget the bytes."""
        with _LOCK:
            self._bytes.pop(digest, None)
            self._times.pop(digest, None)

    def sweep(self, before: float) -> int:  # noqa: ARG002 - as the protocol says
        """Nothing: who writes here ends with the process."""
        return 0

    def folders(self) -> Iterator[StoredObject]:
        """None: readers of a folder are given the unpacked bundle itself."""
        return iter(())

    def remove_folder(self, digest: str, *, before: float) -> bool:  # noqa: ARG002 - as the protocol has it
        """There is none."""
        return False

    def create_record(self, name: str, data: bytes) -> bool:
        """Keep a record unless one is there."""
        with _LOCK:
            return self._records.setdefault(record_path(name), bytes(data)) == data

    def read_record(self, name: str) -> bytes:
        """A record's bytes."""
        with _LOCK:
            data = self._records.get(record_path(name))
        if data is None:
            raise SourceNotFound(f"{self.uri} holds no record {name}")
        return data

    def records(self, folder: str) -> tuple[str, ...]:
        """Names of all records below a folder."""
        below = f"{record_path(folder)}/"
        with _LOCK:
            return tuple(sorted(name for name in self._records if name.startswith(below)))
