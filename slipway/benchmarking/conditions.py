"""The machine that latencies were measured on, and whether other load disturbed them."""

import os
import platform
import resource
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from slipway.providers import allotted_cores
from slipway.reports import BenchmarkConditions

CPUINFO: Final = Path("/proc/cpuinfo")
STAT: Final = Path("/proc/stat")

# A window is noisy beyond any of these: the process was kept waiting a sixth of the time that it
# wanted to run, was put off the CPU more often than a quiet system's own threads do, or the
# hypervisor gave time away.
WAITING_RATIO: Final = 1.2
SWITCHES_PER_S: Final = 50.0
STEAL_PERCENT: Final = 1.0


@dataclass(frozen=True)
class Clocks:
    """Readings at one moment; two of them make a window."""

    cpu_s: float
    involuntary_switches: int
    steal_ticks: int | None
    total_ticks: int | None

    @classmethod
    def read(cls) -> "Clocks":
        """Now, for this process and this machine."""
        steal, total = read_steal(STAT)
        return cls(
            cpu_s=time.process_time(),
            involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            steal_ticks=steal,
            total_ticks=total,
        )

    def steal_percent_since(self, before: "Clocks") -> float | None:
        """Share of the machine's time that the hypervisor gave to others, in percent."""
        if self.steal_ticks is None or before.steal_ticks is None:
            return None
        if self.total_ticks is None or before.total_ticks is None:
            return None
        total = self.total_ticks - before.total_ticks
        return 100.0 * (self.steal_ticks - before.steal_ticks) / total if total > 0 else 0.0


def is_noisy(before: Clocks, after: Clocks, *, running_s: float, threads: int) -> bool:
    """Whether a window in which queries ran for `running_s` of wall time was disturbed.

    A single thread that runs for less CPU time than wall time was kept waiting; several threads
    wait for each other as well, which is no disturbance.
    """
    steal = after.steal_percent_since(before)
    waited = running_s > WAITING_RATIO * (after.cpu_s - before.cpu_s)
    switches = after.involuntary_switches - before.involuntary_switches
    return (
        (threads == 1 and waited)
        or switches > SWITCHES_PER_S * max(running_s, 1.0)
        or (steal is not None and steal > STEAL_PERCENT)
    )


def describe(
    *, intra_op_threads: int, confidence: float, load_average: float, steal_percent: float | None
) -> BenchmarkConditions:
    """What a latency depends on beside the model."""
    return BenchmarkConditions(
        host=platform.node(),
        cpu=cpu_model(CPUINFO),
        cores=allotted_cores(),
        intra_op_threads=intra_op_threads,
        onnxruntime=version("onnxruntime"),
        confidence=confidence,
        load_average=load_average,
        steal_percent=steal_percent,
    )


def load_average() -> float:
    """Runnable threads over the last minute."""
    return os.getloadavg()[0]


def cpu_model(cpuinfo: Path) -> str:
    """The processor's name; the architecture where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def read_steal(stat: Path) -> tuple[int | None, int | None]:
    """(steal, total) ticks of all CPUs since boot; None where the system does not tell.

    The first line is `cpu user nice system idle iowait irq softirq steal guest guest_nice`;
    guests are counted in user and nice already.
    """
    try:
        first = stat.read_text(encoding="utf-8").splitlines()[0].split()
        ticks = [int(field) for field in first[1:9]]
    except (OSError, IndexError, ValueError):
        return None, None
    return (ticks[7], sum(ticks)) if len(ticks) == 8 else (None, None)  # noqa: PLR2004 - above
