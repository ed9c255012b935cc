"""Bytes in a folder, named by their digest: `ROOT/sha256/ab/abcdef...`.

Beside the objects: `tmp/` holds what is being written, `quarantine/` what was found damaged, and
`records/` the records by their names. None of them is ever read as an object.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.artifacts import OCTETS_MEDIA_TYPE, ArtifactRef, digest_bytes
from slipway.errors import (
    IntegrityError,
    RequestError,
    SlipwayError,
    SourceNotFound,
    StoreUnavailable,
    os_failure,
)
from slipway.protocols import StoredObject
from slipway.stores.copying import (
    DIGITS,
    copy_hashed,
    describe_file,
    digits_of,
    record_path,
    sync_folder,
    write_synced,
)
from slipway.stores.traffic import count

STALE_TEMPORARY_S: Final = 86_400.0
"""A temporary file this old belongs to a writer that was killed; a day is longer than any write."""

READ_ONLY: Final = 0o444


class LocalStore:
    """A folder of objects that are complete or not there.

    An object is written under a temporary name in the same file system, hashed while it is
    written, flushed to the disk, and renamed to its digest; so a writer that is killed at any
    byte, or a full disk, leaves nothing that could be read. Any number of processes may write the
    same object at once: all of them rename the same bytes to the same name.

    A full disk or a lack of rights is `EnvironmentMissing`, not `Transient`: a retry seconds later
    would write the same gigabytes to the same full disk, and a person has to act.

    Objects are copied out (or cloned, where the file system shares blocks), never linked: through
    a hard link a user of the copy would change the object, and onnx refuses linked external data.

    An object found damaged is moved to `quarantine/`, so that `contains` says the truth and making
    it again heals the store.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = f"file://{self.root}"

    def put_file(self, path: Path, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Store a file; one that is there already is hashed but not written again."""
        digest, size = describe_file(path)
        if not self._holds(digest, size):
            with self._writing(path.name) as temporary, path.open("rb") as reading:
                # Hashed again while written: the file may change between two readings.
                digest, size = copy_hashed(reading, temporary)
                self._publish(temporary, digest)
            count(written_bytes=size)
        return self._ref(digest, size, media_type)

    def put_bytes(self, data: bytes, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Store bytes from memory."""
        digest = digest_bytes(data)
        if not self._holds(digest, len(data)):
            with self._writing(f"{len(data)} bytes") as temporary:
                write_synced(temporary, data)
                self._publish(temporary, digest)
            count(written_bytes=len(data))
        return self._ref(digest, len(data), media_type)

    def fetch_file(self, digest: str, target: Path) -> None:
        """Copy an object to a new file, which appears when it is complete and verified."""
        if target.exists() or target.is_symlink():
            raise RequestError(f"{target} exists already; fetch to a new path")
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._path(digest).open("rb") as opened:
                found, size = copy_hashed(opened, temporary, sync=False)
                if found != digest:
                    raise self._damaged(digest, found, os.fstat(opened.fileno()).st_ino)
            temporary.replace(target)
            count(read_bytes=size)
        except OSError as error:
            raise self._explain(error, digest, f"fetching {digest} to {target}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def read_bytes(self, digest: str) -> bytes:
        """The bytes, hashed after reading."""
        try:
            with self._path(digest).open("rb") as opened:
                data = opened.read()
                inode = os.fstat(opened.fileno()).st_ino
        except OSError as error:
            raise self._explain(error, digest, f"reading {digest} in {self.root}") from error
        if (found := digest_bytes(data)) != digest:
            raise self._damaged(digest, found, inode)
        count(read_bytes=len(data))
        return data

    def contains(self, digest: str) -> bool:
        """Whether the object's file is there."""
        return self._path(digest).is_file()

    def listing(self) -> Iterator[StoredObject]:
        """All objects, from the files' names and times."""
        for path in (self.root / "sha256").glob("??/*"):
            if DIGITS.fullmatch(path.name) and path.is_file():
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    about = path.stat()
                    yield StoredObject(
                        digest=f"sha256:{path.name}",
                        size_bytes=about.st_size,
                        modified_s=about.st_mtime,
                    )

    def digests(self) -> Iterator[str]:
        """All digests, from the files' names."""
        return (stored.digest for stored in self.listing())

    def delete(self, digest: str) -> None:
        """Remove the object's file."""
        try:
            self._path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise os_failure(
                error, f"deleting {digest} in {self.root}", transient=StoreUnavailable
            ) from error

    def sweep(self, before: float) -> int:
        """Remove temporary files that were last written before a time."""
        return _sweep(self.root / "tmp", before)

    def folders(self) -> Iterator[StoredObject]:
        """None: readers of a folder are given the unpacked bundle itself."""
        return iter(())

    def remove_folder(self, digest: str, *, before: float) -> bool:  # noqa: ARG002 - as the protocol has it
        """There is none."""
        return False

    def create_record(self, name: str, data: bytes) -> bool:
        """Write a record; a hard link to the complete file is what only one writer can make."""
        path = self._record(name)
        with self._writing(f"the record {name}") as temporary:
            write_synced(temporary, data)
            temporary.chmod(READ_ONLY)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                path.hardlink_to(temporary)
            except FileExistsError:
                return path.read_bytes() == data
            for folder in (path.parent, *path.parent.parents):
                sync_folder(folder)
                if folder == self.root:
                    break
        return True

    def read_record(self, name: str) -> bytes:
        """A record's bytes."""
        try:
            return self._record(name).read_bytes()
        except FileNotFoundError as error:
            raise SourceNotFound(f"{self.root} holds no record {name}") from error
        except OSError as error:
            raise os_failure(
                error, f"reading the record {name} in {self.root}", transient=StoreUnavailable
            ) from error

    def records(self, folder: str) -> tuple[str, ...]:
        """Names of all records below a folder, from the files' names."""
        root = self.root / "records"
        found = (path for path in self._record(folder).rglob("*") if path.is_file())
        return tuple(sorted(path.relative_to(root).as_posix() for path in found))

    def _record(self, name: str) -> Path:
        return self.root / "records" / record_path(name)

    def _path(self, digest: str) -> Path:
        name = digits_of(digest)
        return self.root / "sha256" / name[:2] / name

    def _holds(self, digest: str, size: int) -> bool:
        """Whether the object is there at its full size; a truncated one is written again.

        It counts as new then: whoever found it is about to refer to it.
        """
        path = self._path(digest)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
        except FileNotFoundError:
            return False
        except OSError:  # a store that may only be read from
            return path.is_file()
        return True

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[Path]:
        """A fresh temporary path in the store, gone afterwards whatever happens."""
        folder = self.root / "tmp"
        temporary = folder / secrets.token_hex(16)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder, time.time() - STALE_TEMPORARY_S)
            yield temporary
        except OSError as error:
            raise os_failure(
                error, f"storing {what} in {self.root}", transient=StoreUnavailable
            ) from error
        finally:
            # A read-only file system refuses even this; the error above has said so.
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path, digest: str) -> None:
        path = self._path(digest)
        new_folder = not path.parent.is_dir()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(READ_ONLY)
        temporary.replace(path)
        sync_folder(path.parent)
        if new_folder:
            sync_folder(path.parent.parent)

    def _damaged(self, digest: str, found: str, inode: int) -> IntegrityError:
        """Set a damaged object aside, unless another writer has replaced it meanwhile."""
        path = self._path(digest)
        aside = self.root / "quarantine" / path.name
        try:
            aside.parent.mkdir(exist_ok=True)
            if path.stat().st_ino == inode:
                path.replace(aside)
            where = f"; set aside as {aside}"
        except OSError:
            where = ""
        return IntegrityError(
            f"{path} holds {found}, not what its name says{where}; make the artifact again"
        )

    def _explain(self, error: OSError, digest: str, doing: str) -> SlipwayError:
        if isinstance(error, FileNotFoundError) and not self.contains(digest):
            return SourceNotFound(f"{self.root} holds no {digest}")
        return os_failure(error, doing, transient=StoreUnavailable)

    def _ref(self, digest: str, size: int, media_type: str) -> ArtifactRef:
        return ArtifactRef(
            uri=f"file://{self._path(digest)}",
            digest=digest,
            size_bytes=size,
            media_type=media_type,
        )


def _sweep(folder: Path, before: float) -> int:
    """Remove what killed writers left; how many files they were."""
    swept = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with contextlib.suppress(OSError):  # another process sweeps the same
            if path.stat().st_mtime < before:
                path.unlink()
                swept += 1
    return swept
