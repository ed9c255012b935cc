"""Copies of files that are hashed on the way and flushed to the disk."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from slipway.artifacts import CHUNK_BYTES

FICLONE: Final = 0x40049409
"""The ioctl that makes a file share another's blocks (btrfs, XFS, ...): linux/fs.h."""


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
