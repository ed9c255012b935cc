"""What a model's file says that its sessions should be told: entries kept in its metadata.

They travel with the bytes, so that every session opened here that needs them has them, and any
other server finds them in the model's custom metadata. The graph is stepped over, not parsed, and
onnx not imported.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

X64_PRECISION: Final = "session.x64quantprecision"
"""Of onnxruntime 1.31: 8-bit products in kernels that do not saturate where VNNI is missing.

Where there is VNNI nothing saturates, and the entry only costs time: a MobileNet took 4.8 ms with
it and 2.3 ms without.
"""

# A file must not choose freely how it is run: other entries read and write files.
KNOWN: Final = frozenset({X64_PRECISION})

# Numbers of fields in onnx.proto: of a model its metadata, of an entry its key and value.
_METADATA: Final = 14
_KEY, _VALUE = 1, 2
# What protobuf writes before a field: its number, and one of these kinds.
_VARINT, _DELIMITED = 0, 2
_FIXED_SIZES: Final = {1: 8, 5: 4}
# A model with more parts than these, or a longer text, is none of ours.
_MOST_FIELDS: Final = 4096
_LONGEST: Final = 1 << 16


def recommended_entries(model: Path) -> dict[str, str]:
    """The known session entries of a model's file, by key; none where it is no model.

    They are for processors that lack VNNI: see `hardware.lacks_vnni`.
    """
    try:
        with model.open("rb") as file:
            entries = [dict(_texts(io.BytesIO(data), {_KEY, _VALUE}))
                       for _, data in _texts(file, {_METADATA})]  # fmt: skip
        found = {entry[_KEY].decode(): entry.get(_VALUE, b"").decode() for entry in entries}
    except (OSError, EOFError, KeyError, ValueError):
        return {}
    return {key: value for key, value in sorted(found.items()) if key in KNOWN}


def _texts(file: IO[bytes], wanted: set[int]) -> Iterator[tuple[int, bytes]]:
    """The number and the bytes of each wanted field; others are stepped over."""
    for _ in range(_MOST_FIELDS):
        first = file.read(1)
        if not first:
            return
        tag = _varint(file, first)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _varint(file, file.read(1))
            continue
        if kind != _DELIMITED and kind not in _FIXED_SIZES:
            raise ValueError("no protobuf")
        size = _FIXED_SIZES[kind] if kind in _FIXED_SIZES else _varint(file, file.read(1))
        if kind == _DELIMITED and number in wanted and size <= _LONGEST:
            yield number, file.read(size)
        else:
            file.seek(size, io.SEEK_CUR)


def _varint(file: IO[bytes], byte: bytes) -> int:
    """A number of seven bits a byte, the lowest first, of which one byte has been read."""
    value = 0
    for shift in range(0, 64, 7):
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 - the bit that says that more follow
            return value
        byte = file.read(1)
    raise ValueError("no protobuf")
