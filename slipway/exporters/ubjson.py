"""Universal Binary JSON as XGBoost writes it, read within bounds and never executed."""

from typing import Any, Final

import numpy as np

_INTEGERS: Final = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8"}
_NUMBERS: Final = {**_INTEGERS, b"d": ">f4", b"D": ">f8"}
_MAX_DEPTH: Final = 64


def read_ubjson(data: bytes) -> Any:  # noqa: ANN401 - a document of any form
    """The document; numbers in typed arrays become Python's.

    Raises:
        ValueError: when it is malformed, truncated or followed by more bytes.
    """
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.place != len(data):
        raise ValueError(f"{len(data) - reader.place} bytes follow the document's end")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.place + count > len(self.data):
            raise ValueError(f"it ends at byte {len(self.data)}, in the middle of a value")
        found = self.data[self.place : self.place + count]
        self.place += count
        return found

    def value(self, marker: bytes, depth: int) -> Any:  # noqa: ANN401
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
        if marker in _NUMBERS:
            return self._number(marker)
        match marker:
            case b"Z":
                return None
            case b"T" | b"F":
                return marker == b"T"
            case b"S":
                return self._text()
            case b"[":
                return self._array(depth)
            case b"{":
                return self._object(depth)
        raise ValueError(f"byte {self.place - 1} is {marker!r}, which begins no value")

    def _number(self, marker: bytes) -> int | float:
        kind = np.dtype(_NUMBERS[marker])
        (found,) = np.frombuffer(self.take(kind.itemsize), kind).tolist()
        return found  # type: ignore[no-any-return]

    def _count(self) -> int:
        marker = self.take(1)
        if marker not in _INTEGERS:
            raise ValueError(f"byte {self.place - 1} is {marker!r}, where a length must be")
        return int(self._number(marker))

    def _text(self) -> str:
        return self.take(self._count()).decode()

    def _array(self, depth: int) -> list[Any]:
        marker = self.take(1)
        if marker == b"$":
            return self._typed()
        if marker == b"#":
            count = self._count()
            if count > len(self.data):
                raise ValueError("an array is longer than the file")
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        found = []
        while marker != b"]":
            found.append(self.value(marker, depth + 1))
            marker = self.take(1)
        return found

    def _typed(self) -> list[Any]:
        marker = self.take(1)
        if marker not in _NUMBERS or self.take(1) != b"#":
            raise ValueError(f"byte {self.place - 1}: an array of an unknown type")
        kind = np.dtype(_NUMBERS[marker])
        found: list[Any] = np.frombuffer(self.take(self._count() * kind.itemsize), kind).tolist()
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while (marker := self.take(1)) != b"}":
            self.place -= 1
            del marker
            key = self._text()
            found[key] = self.value(self.take(1), depth + 1)
        return found
