"""A running child as the parent sees it: its limits, its memory, and the end that is made of it."""

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from slipway.errors import ChildFailed, ChildOutOfMemory, ChildTimedOut

MARK: Final = "SLIPWAY_CHILD"
"""The variable by which a child's processes are found again, whatever session they moved to."""

_TAIL_BYTES: Final = 8_000
_ANSWER_LIMIT_BYTES: Final = 64 << 20
_POLL_S: Final = 0.1


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Args:
        timeout_s: Wall-clock seconds until it is killed, with everything that it started.
        memory_bytes: Memory until it is stopped; 85 % of the machine's when None.
    """

    timeout_s: float = 1800.0
    memory_bytes: int | None = None

    @property
    def memory_limit_bytes(self) -> int:
        """The limit with the default filled in."""
        return self.memory_bytes or int(_physical_memory_bytes() * 0.85)


@dataclass
class Child:
    """A running child: `wait` gives how it ended, as `Popen.returncode` does."""

    pid: int
    output_fd: int
    answer_fd: int
    wait: Callable[[], int]
    limits: Limits
    mark: str | None = None
    output: bytearray = field(default_factory=bytearray)
    answer: bytearray = field(default_factory=bytearray)
    peak_bytes: int = 0
    ended: bool = False

    def tail(self) -> str:
        """The end of its output, for a message."""
        text = bytes(self.output[-_TAIL_BYTES:]).decode(errors="replace").strip()
        lines = text.splitlines()[-15:]
        return "\n  ".join(["; its last output:", *lines]) if lines else ""


def watch(child: Child, what: str, look: Callable[[], None] | None = None) -> None:
    """Read output and answer until both ends close; raise when a limit is passed.

    `look` is called again and again meanwhile, and once at the end.
    """
    deadline = time.monotonic() + child.limits.timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(child.output_fd, selectors.EVENT_READ, child.output)
        selector.register(child.answer_fd, selectors.EVENT_READ, child.answer)
        while selector.get_map():
            for key, _ in selector.select(timeout=_POLL_S):
                data = os.read(key.fd, 1 << 16)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
            del child.output[: -2 * _TAIL_BYTES]
            _enforce(child, deadline, what)
            if look is not None:
                look()


def _enforce(child: Child, deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise ChildTimedOut(
            f"{what} ran past its limit of {child.limits.timeout_s:g} s and was stopped; raise "
            f"SLIPWAY_TIMEOUT_S if it needs longer{child.tail()}"
        )
    child.peak_bytes = max(child.peak_bytes, _resident_bytes(child.pid))
    if child.peak_bytes > child.limits.memory_limit_bytes:
        raise out_of_memory(child, what)
    if len(child.answer) > _ANSWER_LIMIT_BYTES:
        raise ChildFailed(f"{what} answered more than {_ANSWER_LIMIT_BYTES >> 20} MiB")


def out_of_memory(child: Child, what: str, detail: str = "") -> ChildOutOfMemory:
    """The error of a child whose limit was too low for it."""
    limit = child.limits.memory_limit_bytes
    return ChildOutOfMemory(
        f"{what} needs more memory than its limit of {limit / 2**30:.1f} GiB (it held "
        f"{child.peak_bytes / 2**30:.1f} GiB{detail}); raise SLIPWAY_MEMORY_LIMIT_BYTES, or use "
        "a machine with more memory"
    )


def end(child: Child) -> None:
    """Leave nothing running: the child, its group, and whatever moved to another session."""
    if not child.ended:
        # Both, since a forked child may not lead its own group yet.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child.pid, signal.SIGKILL)
        child.wait()
    for pid in _marked(child.mark) if child.mark else ():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    os.close(child.answer_fd)
    os.close(child.output_fd)


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and of all that it started."""
    total, pending = 0, [pid]
    page = os.sysconf("SC_PAGE_SIZE")
    while pending:
        current = pending.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * page
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
    return total


def _marked(mark: str) -> list[int]:
    """Processes whose environment carries this child's mark."""
    needle = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found
