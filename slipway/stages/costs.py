"""What a run costs: the processor's seconds, children included, and the bytes that it moves."""

import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from slipway.reports import CostReport
from slipway.stores.traffic import Traffic, traffic


@dataclass(frozen=True)
class Meter:
    """Started where a run begins; `read` says what has been spent since.

    It counts this process and all below it. What a worker on another machine spends is in the run
    that it was given.
    """

    begun_s: float = field(default_factory=time.monotonic)
    cpu_s: float = field(default_factory=lambda: cpu_seconds(os.getpid()))
    moved: Traffic = field(default_factory=traffic)

    def read(self) -> CostReport:
        """The costs until now."""
        moved = traffic()
        return CostReport(
            wall_s=time.monotonic() - self.begun_s,
            cpu_s=max(0.0, cpu_seconds(os.getpid()) - self.cpu_s),
            read_bytes=moved.read_bytes - self.moved.read_bytes,
            written_bytes=moved.written_bytes - self.moved.written_bytes,
        )


def cpu_seconds(pid: int) -> float:
    """Of a process, of those that it has waited for, and of all that are still below it.

    The process that isolated children are forked from lives as long as this one, so that
    `getrusage` would tell of them only when all is over.
    """
    ticks, pending = 0, [pid]
    while pending:
        current = Path(f"/proc/{pending.pop()}")
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            fields = (current / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc(5)
            for task in (current / "task").iterdir():
                pending += map(int, (task / "children").read_text(encoding="ascii").split())
    return ticks / os.sysconf("SC_CLK_TCK")
