"""How many bytes this process has moved into stores and out of them, for what a run has cost.

Counted where bytes really move: what a store has already is not sent again, and not counted.
"""

import threading
from typing import NamedTuple


class Traffic(NamedTuple):
    """Bytes since this process began."""

    read_bytes: int = 0
    written_bytes: int = 0


_lock = threading.Lock()
_moved = Traffic()


def count(*, read_bytes: int = 0, written_bytes: int = 0) -> None:
    """Add what has just been moved."""
    global _moved  # noqa: PLW0603 - a process has one count
    with _lock:
        _moved = Traffic(_moved.read_bytes + read_bytes, _moved.written_bytes + written_bytes)


def traffic() -> Traffic:
    """What has been moved until now."""
    return _moved
