"""The machine that latencies were measured on, and whether other load disturbed them."""

import os
import platform
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.providers import allotted_cores
from slipway.providers.runtime import device_fingerprint, runtime_version
from slipway.reports import BenchmarkConditions, SessionSettings

CPUINFO: Final = Path("/proc/cpuinfo")
STAT: Final = Path("/proc/stat")

# A window is noisy beyond any of these: the process was kept waiting a sixth of the time that it
# wanted to run, was put off the CPU more often than a quiet system's own threads do, the
# hypervisor gave time away, or others ran on a tenth of the machine that it wanted for itself.
WAITING_RATIO: Final = 1.2
SWITCHES_PER_S: Final = 50.0
STEAL_PERCENT: Final = 1.0
OTHERS_PERCENT: Final = 10.0


@dataclass(frozen=True)
class Clocks:
    """Readings at one moment; two of them make a window."""

    cpu_s: float
    involuntary_switches: int
    steal_ticks: int | None
    total_ticks: int | None
    busy_ticks: int | None = None

    @classmethod
    def read(cls) -> "Clocks":
        """Now, for this process and this machine."""
        steal, total, busy = read_ticks(STAT)
        return cls(
            cpu_s=time.process_time(),
            involuntary_switches=resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
            steal_ticks=steal,
            total_ticks=total,
            busy_ticks=busy,
        )

    def steal_percent_since(self, before: "Clocks") -> float | None:
        """Share of the machine's time that the hypervisor gave to others, in percent."""
        if self.steal_ticks is None or before.steal_ticks is None:
            return None
        if self.total_ticks is None or before.total_ticks is None:
            return None
        total = self.total_ticks - before.total_ticks
        return 100.0 * (self.steal_ticks - before.steal_ticks) / total if total > 0 else 0.0

    def others_percent_since(self, before: "Clocks", *, wall_s: float) -> float | None:
        """Share of the machine's time that other processes ran, in percent; never below zero."""
        if self.busy_ticks is None or before.busy_ticks is None or wall_s <= 0:
            return None
        busy_s = (self.busy_ticks - before.busy_ticks) / os.sysconf("SC_CLK_TCK")
        machine_s = wall_s * (os.cpu_count() or 1)
        others_s = max(busy_s - (self.cpu_s - before.cpu_s), 0.0)
        return min(100.0 * others_s / machine_s, 100.0)


def is_noisy(
    before: Clocks, after: Clocks, *, running_s: float, wall_s: float, threads: int, waits: bool
) -> bool:
    """Whether a window of `wall_s`, in which queries ran for `running_s`, was disturbed.

    A single thread that runs for less CPU time than wall time was kept waiting. Where queries wait
    by nature, as several threads do for each other and a processor for its device, that is no
    disturbance; there it is other processes that want more of the machine than `threads` leave.
    """
    steal = after.steal_percent_since(before)
    others = after.others_percent_since(before, wall_s=wall_s)
    waited = running_s > WAITING_RATIO * (after.cpu_s - before.cpu_s)
    switches = after.involuntary_switches - before.involuntary_switches
    free = 100.0 * max(1.0 - threads / (os.cpu_count() or 1), 0.0)
    return (
        (waited and not waits)
        or (others is not None and others > free + OTHERS_PERCENT)
        or switches > SWITCHES_PER_S * max(running_s, 1.0)
        or (steal is not None and steal > STEAL_PERCENT)
    )


def describe(
    *,
    settings: SessionSettings,
    confidence: float,
    load_average: float,
    steal_percent: float | None,
    others_percent: float | None = None,
    provider_options: Mapping[str, str] | None = None,
) -> BenchmarkConditions:
    """What a latency depends on beside the model."""
    return BenchmarkConditions(
        host=platform.node(),
        cpu=cpu_model(CPUINFO),
        cores=allotted_cores(),
        intra_op_threads=settings.intra_op_threads,
        onnxruntime=runtime_version(),
        confidence=confidence,
        load_average=load_average,
        steal_percent=steal_percent,
        graph_optimization=settings.graph_optimization,
        execution_mode=settings.execution_mode,
        frequency_mhz=frequency_mhz(CPUINFO),
        others_percent=others_percent,
        provider_options=dict(provider_options or {}),
        devices=device_fingerprint(),
    )


def load_average() -> float:
    """Runnable threads over the last minute."""
    return os.getloadavg()[0]


def cpu_model(cpuinfo: Path) -> str:
    """The processor's name; the architecture where the system does not tell."""
    names = _fields(cpuinfo, "model name")
    return names[0] if names else platform.machine()


def frequency_mhz(cpuinfo: Path) -> float | None:
    """The cores' mean frequency now; None where the system does not tell."""
    try:
        found = [float(value) for value in _fields(cpuinfo, "cpu MHz")]
    except ValueError:
        return None
    return round(sum(found) / len(found), 1) if found else None


def _fields(cpuinfo: Path, name: str) -> list[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith(name)]


def read_ticks(stat: Path) -> tuple[int | None, int | None, int | None]:
    """(steal, total, busy) ticks of all CPUs since boot; None where the system does not tell.

    The first line is `cpu user nice system idle iowait irq softirq steal guest guest_nice`;
    guests are counted in user and nice already.
    """
    try:
        first = stat.read_text(encoding="utf-8").splitlines()[0].split()
        user, nice, system, idle, iowait, irq, softirq, steal = (int(f) for f in first[1:9])
    except (OSError, IndexError, ValueError):
        return None, None, None
    busy = user + nice + system + irq + softirq
    return steal, busy + idle + iowait + steal, busy
