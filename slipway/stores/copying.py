"""What stores do with files alike: read them, copy them hashed, flush them to the disk."""

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from slipway.artifacts import CHUNK_BYTES, check_relative_path, digest_file
from slipway.errors import RequestError, SourceNotFound

DIGITS: Final = re.compile(r"[0-9a-f]{64}")
FICLONE: Final = 0x40049409
"""The ioctl that makes a file share another's blocks (btrfs, XFS, ...): linux/fs.h."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that somebody wants to store.

    Raises:
        SourceNotFound: when there is none.
        RequestError: when it cannot be read.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise SourceNotFound(f"no file at {path}") from error
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error


def describe_file(path: Path) -> tuple[str, int]:
    """The digest and the size of a file that is to be stored; raises as `reading` does."""
    with reading(path):
        return digest_file(path), path.stat().st_size


def digits_of(digest: str) -> str:
    """The 64 hexadecimal digits, by which objects are named.

    Raises:
        RequestError: when it is no digest, but perhaps a path.
    """
    if not DIGITS.fullmatch(name := digest.removeprefix("sha256:")) or name == digest:
        raise RequestError(f"{digest!r} is not a digest; expected sha256: and 64 digits")
    return name


def record_path(name: str) -> str:
    """The name of a record, which is a plain relative path.

    Raises:
        RequestError: when it is not.
    """
    try:
        return check_relative_path(name)
    except ValueError as error:
        raise RequestError(f"no record can have that name: {error}") from error


def copy_hashed(reading: BinaryIO, target: Path, *, sync: bool = True) -> tuple[str, int]:
    """Copy an opened file to a new one; return the digest and the size of what was written.

    Where the file system can, the blocks are shared (copy on write) and the clone is hashed;
    elsewhere the bytes are hashed as they pass.
    """
    with target.open("xb+") as writing:
        if _clone(reading, writing):
            digest = hashlib.file_digest(writing, "sha256").hexdigest()
        else:
            digest = _pump(reading, writing)
        writing.flush()
        if sync:
            os.fsync(writing.fileno())
        return f"sha256:{digest}", os.fstat(writing.fileno()).st_size


def write_synced(target: Path, data: bytes) -> None:
    """Write bytes to a new file and flush them to the disk."""
    with target.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _clone(reading: BinaryIO, writing: BinaryIO) -> bool:
    try:
        fcntl.ioctl(writing.fileno(), FICLONE, reading.fileno())
    except OSError:  # another file system, or one that cannot: copy instead
        return False
    return True


def _pump(reading: BinaryIO, writing: BinaryIO) -> str:
    hasher = hashlib.sha256()
    while chunk := reading.read(CHUNK_BYTES):
        writing.write(chunk)
        hasher.update(chunk)
    return hasher.hexdigest()
