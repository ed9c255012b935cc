"""From what the processes measured to the rows of a report."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.artifacts import Value
from slipway.benchmarking.loop import NS_PER_MS, NS_PER_S, Window
from slipway.benchmarking.objective import meets_slo
from slipway.benchmarking.resampling import pooled, ratio_of
from slipway.benchmarking.statistics import CONFIDENCE, paired_ratio, verdict
from slipway.reports import BenchmarkReport, Placement, Verdict

# Two sessions of one model in one process differ by about 1 %, which is none of the models.
RESOLUTION: Final = 0.01
# Two processes of one model differ by up to 4 %: where the time sufficed for one alone, less is no
# difference.
RESOLUTION_OF_ONE: Final = 0.04
# What is disturbed beyond this share, extended as it was, is called unstable.
UNSTABLE_FROM: Final = 0.25


class Windows(Value):
    """One process's windows, one a batch size; the first process says where nodes ran."""

    windows: tuple[Window, ...]
    placements: tuple[Placement, ...] = ()

    @property
    def noisy(self) -> bool:
        """Whether any of them was disturbed."""
        return any(window.noisy for window in self.windows)


@dataclass(frozen=True)
class Measured:
    """What all processes found at one batch size: the windows that count, and how they were."""

    windows: tuple[Window, ...]
    disturbed: int
    unstable: bool

    @property
    def batch_size(self) -> int:
        """The batch size of all of them."""
        return self.windows[0].batch_size

    @property
    def labels(self) -> tuple[str, ...]:
        """The arms, the baseline first."""
        return tuple(self.windows[0].latencies_ns)


def windows_at(found: Sequence[Windows], size: int, *, wanted: int) -> Measured:
    """The windows of a batch size: the quiet ones where as many as wanted are, else all."""
    every = [window for process in found for window in process.windows if window.batch_size == size]
    quiet = [window for window in every if not window.noisy]
    disturbed = len(every) - len(quiet)
    enough = len(quiet) >= wanted
    return Measured(
        windows=tuple(quiet if enough else every),
        disturbed=disturbed,
        unstable=not enough and disturbed > UNSTABLE_FROM * len(every),
    )


def report(
    measured: Measured, *, provider: str, slo_p99_ms: float | None
) -> Iterator[BenchmarkReport]:
    """One row for each arm; the first is the baseline of all."""
    size = measured.batch_size
    for label in measured.labels:
        taken = [window.of(label) for window in measured.windows]
        p50, p95, p99 = pooled([latencies / NS_PER_MS for latencies in taken], (50, 95, 99))
        ratio, interval, said = compare(measured, label)
        runs = sum(len(latencies) for latencies in taken)
        yield BenchmarkReport(
            precision=label,
            provider=provider,
            batch_size=size,
            queries=runs,
            p50=p50,
            p95=p95,
            p99=p99,
            throughput=size * runs * NS_PER_S / sum(float(one.sum()) for one in taken),
            ratio=ratio,
            ratio_interval=interval,
            verdict=said,
            meets_slo=(
                meets_slo(p99=p99, others=(p50, p95), slo_p99_ms=slo_p99_ms) if size == 1 else None
            ),
            noisy=measured.unstable,
            processes=len(measured.windows),
            disturbed=measured.disturbed,
        )


def compare(
    measured: Measured, label: str, *, confidence: float = CONFIDENCE
) -> tuple[float | None, tuple[float, float] | None, Verdict]:
    """An arm's latency ratio to the first arm, its interval, and what they say."""
    baseline = measured.labels[0]
    if label == baseline:
        return None, None, "baseline"
    if len(measured.windows) == 1:
        (window,) = measured.windows
        ratio, interval = paired_ratio(window.of(label), window.of(baseline), confidence=confidence)
        return ratio, interval, verdict(interval, resolution=RESOLUTION_OF_ONE)
    ratio, interval = ratio_of(
        [window.of(label) / window.of(baseline) for window in measured.windows],
        confidence=confidence,
    )
    return ratio, interval, verdict(interval, resolution=RESOLUTION)


def sizes_of(found: Sequence[Windows]) -> tuple[int, ...]:
    """The batch sizes that were measured."""
    return tuple(window.batch_size for window in found[0].windows)


def others_percent(found: Sequence[Windows]) -> float | None:
    """What other processes took of the machine, over all windows."""
    known = [w.others_percent for process in found for w in process.windows]
    told = [percent for percent in known if percent is not None]
    return round(sum(told) / len(told), 1) if told else None
