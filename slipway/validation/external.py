"""Preflight rule: external data lies in plain files of the model's own folder, in bounds."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from slipway.artifacts import check_relative_path
from slipway.samples.arrays import Array
from slipway.validation.walk import quote

CHUNK_BYTES: Final = 4 << 20
_IN_MEMORY_TAG: Final = "_ORT_MEM_ADDR_"
"""onnxruntime takes a location with this mark for an address in its own memory."""


class OutsideError(ValueError):
    """External data that must not be read; the message says why, without the tensor's name."""


@dataclass(frozen=True)
class DataRange:
    """Where a tensor's bytes are: a file, the first byte and how many."""

    path: Path
    offset: int
    length: int


@dataclass
class ExternalFiles:
    """The external files of one model, each looked at once."""

    folder: Path
    sizes: dict[str, int] = field(default_factory=dict)

    def locate(self, tensor: onnx.TensorProto, *, needed: int) -> DataRange:
        """Where a tensor's `needed` bytes are.

        Raises:
            OutsideError: when the place is outside the folder, no plain file, or out of its bounds.
        """
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if any(isinstance(text, bytes) for text in entries.values()):
            raise OutsideError("its place is not text")
        location = entries.get("location", "")
        size = self._size(location)
        offset = _whole_number(entries.get("offset", "0"), "offset")
        length = _whole_number(entries.get("length", str(needed)), "length")
        if length != needed:
            raise OutsideError(f"its length is {length}, its shape needs {needed} bytes")
        if offset + length > size:
            raise OutsideError(
                f"bytes {offset} to {offset + length} lie beyond the end of {quote(location)}, "
                f"which has {size}"
            )
        return DataRange(self.folder / location, offset, length)

    @property
    def total_bytes(self) -> int:
        """Size of all files seen."""
        return sum(self.sizes.values())

    def _size(self, location: str) -> int:
        if location not in self.sizes:
            self.sizes[location] = _plain_file_size(self.folder, location)
        return self.sizes[location]


def read_chunks(place: DataRange, dtype: np.dtype[np.generic]) -> Iterator[Array]:
    """A tensor's values as flat arrays of at most `CHUNK_BYTES`; one buffer is used for all."""
    buffer = bytearray(min(CHUNK_BYTES, place.length))
    with place.path.open("rb", buffering=0) as file:
        file.seek(place.offset)
        left = place.length
        while left:
            view = memoryview(buffer)[: min(left, len(buffer))]
            got = file.readinto(view)
            if got is None or got < len(view):
                raise OutsideError(f"{quote(place.path.name)} ends early")
            yield np.frombuffer(view, dtype=dtype)
            left -= got


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _plain_file_size(folder: Path, location: str) -> int:
    try:
        check_relative_path(location)
    except ValueError as error:
        raise OutsideError(
            f"its location {quote(location)} is not a plain relative path; external data lies "
            "beside the model"
        ) from error
    if _IN_MEMORY_TAG in location:
        raise OutsideError(f"its location {quote(location)} names an address in memory")
    path = folder
    for part in location.split("/"):
        path = path / part
        if path.is_symlink():
            raise OutsideError(f"its location {quote(location)} goes through a symbolic link")
    try:
        with _opened(path) as descriptor:
            status = os.fstat(descriptor)
    except OSError as error:
        raise OutsideError(
            f"its file {quote(location)} cannot be opened ({error.strerror}); copy the model "
            "together with its external data"
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise OutsideError(f"its location {quote(location)} is not a plain file")
    if status.st_nlink > 1:
        raise OutsideError(
            f"its file {quote(location)} has {status.st_nlink} hard links, so that it may be "
            "another file's content; copy it"
        )
    return status.st_size


def _whole_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 19:  # noqa: PLR2004 - 2**63
        raise OutsideError(f"its {name} {quote(text)} is no whole number of bytes")
    return int(text)
