"""Measuring arms side by side in one fresh process after the other."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from slipway.benchmarking import statistics
from slipway.benchmarking.arms import Arm, bind_all, feeds_of, most_threads, pinned, waits
from slipway.benchmarking.inputs import BatchDimension
from slipway.benchmarking.loop import Window, run_interleaved
from slipway.benchmarking.processes import in_process
from slipway.benchmarking.rows import Windows
from slipway.benchmarking.soundness import prove
from slipway.reports import Placement
from slipway.samples.arrays import Arrays
from slipway.specs import BenchmarkSpec

# Disturbed processes are made up for by half as many again.
EXTENSION: Final = 0.5


@dataclass(frozen=True)
class Plan:
    """How much is measured: queries per arm and size, spread over processes, within a time."""

    sizes: tuple[int, ...]
    queries: int
    processes: int
    budget_s: float

    @classmethod
    def of(cls, options: BenchmarkSpec, *, arms: int) -> "Plan":
        """What a spec asks for: the queries that its percentile needs, unless it says how many."""
        queries = options.queries or statistics.queries_needed(options.percentile)
        return cls(
            sizes=options.batch_sizes,
            queries=queries,
            processes=min(options.processes, queries),
            budget_s=options.max_seconds * arms * len(options.batch_sizes),
        )

    @property
    def rounds(self) -> int:
        """Queries per process."""
        return math.ceil(self.queries / self.processes)

    @property
    def most_processes(self) -> int:
        """With those that make up for disturbed ones."""
        return self.processes + math.ceil(EXTENSION * self.processes)


def collect(
    arms: Sequence[Arm], recorded: Arrays, plan: Plan, *, scratch: Path, seed: int = 0
) -> list[Windows]:
    """Measure in one fresh process after the other until the plan is fulfilled or its time is over.

    Processes that other load disturbed are made up for by further ones. The first also proves that
    what is measured is sound.
    """
    deadline = time.monotonic() + plan.budget_s
    found: list[Windows] = []
    while not found or (_wants_more(found, plan) and time.monotonic() < deadline):
        left_s = max(deadline - time.monotonic(), 0.0)
        work = partial(
            run_process,
            arms,
            recorded,
            plan,
            most_s=left_s / max(plan.processes - len(found), 1),
            seed=seed + len(found),
            scratch=None if found else scratch,
        )
        what = f"the measurement of {', '.join(arm.label for arm in arms)}"
        found.append(in_process(work, returns=Windows, what=what))
    return found


def _wants_more(found: Sequence[Windows], plan: Plan) -> bool:
    quiet = sum(not process.noisy for process in found)
    return len(found) < plan.processes or (
        quiet < plan.processes and len(found) < plan.most_processes
    )


def run_process(
    arms: Sequence[Arm],
    recorded: Arrays,
    plan: Plan,
    *,
    most_s: float,
    seed: int,
    scratch: Path | None = None,
) -> Windows:
    """One process's part: open all arms, and measure them at every batch size.

    With a scratch folder it first proves that they are sound. Each process opens the arms in
    another order, since the place in memory that this gives a session is worth about 1 %: what
    would favour one arm in all processes becomes a difference between processes.
    """
    first = seed % len(arms)
    opened = {
        arm.label: arm.open(record=scratch is not None) for arm in (*arms[first:], *arms[:first])
    }
    sessions = {arm.label: opened[arm.label] for arm in arms}
    batch = BatchDimension.of(sessions[arms[0].label].inputs)
    sizes = batch.sizes(plan.sizes)
    placements: tuple[Placement, ...] = ()
    windows: list[Window] = []
    for size in sizes:
        feeds = feeds_of(sessions, recorded, batch=batch, size=size)
        if scratch is not None and not windows:
            placements = prove(arms, sessions, feeds, scratch=scratch)
        with pinned(arms):
            windows.append(
                run_interleaved(
                    bind_all(sessions, feeds),
                    batch_size=size,
                    rounds=plan.rounds,
                    most_s=most_s / len(sizes),
                    threads=most_threads(arms),
                    waits=waits(arms),
                    seed=seed,
                )
            )
    return Windows(windows=tuple(windows), placements=placements)
