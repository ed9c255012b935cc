"""LoadGen's other scenarios: offline, as much as there is at once; server, as samples arrive."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.benchmarking import conditions, statistics
from slipway.benchmarking.arms import (
    Arm,
    Query,
    bind_all,
    feeds_of,
    most_threads,
    pinned,
    waits,
)
from slipway.benchmarking.collecting import Plan, collect
from slipway.benchmarking.inputs import BatchDimension
from slipway.benchmarking.loop import NS_PER_MS, NS_PER_S, Window, warm_up
from slipway.benchmarking.objective import meets_slo
from slipway.benchmarking.processes import in_process
from slipway.benchmarking.resampling import pooled
from slipway.benchmarking.rows import Measured, Windows, sizes_of, windows_at
from slipway.errors import ChildOutOfMemory
from slipway.reports import ScenarioReport
from slipway.samples.arrays import Arrays
from slipway.specs import BenchmarkSpec, SweepSpec

SATURATED: Final = 1.05
"""Twice the batch that gives less than this times the throughput is no gain."""
OFFLINE_QUERIES: Final = 33
FEW_PROCESSES: Final = 3
# A sleep may last this much longer than asked; the rest of the wait is spent awake.
SLEEP_SLACK_NS: Final = 500_000

Clock = Callable[[], int]


def offline(
    arms: Sequence[Arm], recorded: Arrays, options: BenchmarkSpec, *, scratch: Path
) -> list[ScenarioReport]:
    """Throughput at doubling batch sizes, until no arm gains 5 % by it.

    Ends before a batch that does not fit into memory, and at once where the batch is fixed.
    """
    most = (options.sweep or SweepSpec()).max_batch_size
    plan = Plan(
        sizes=(1,),
        queries=OFFLINE_QUERIES,
        processes=FEW_PROCESSES,
        budget_s=options.max_seconds * len(arms) / 2,
    )
    found: list[ScenarioReport] = []
    size, best = 1, {arm.label: 0.0 for arm in arms}
    while size <= most:
        try:
            windows = collect(arms, recorded, replace(plan, sizes=(size,)), scratch=scratch)
        except ChildOutOfMemory:
            if not found:
                raise
            break
        (taken,) = sizes_of(windows)
        rows = list(_offline_rows(windows_at(windows, taken, wanted=plan.processes)))
        found += rows
        gains = [row.throughput > SATURATED * best[row.precision] for row in rows]
        best = {row.precision: max(row.throughput, best[row.precision]) for row in rows}
        if taken != size or not any(gains):
            break
        size *= 2
    return found


def _offline_rows(measured: Measured) -> Iterator[ScenarioReport]:
    size = measured.batch_size
    for label in measured.labels:
        taken = [window.of(label) for window in measured.windows]
        p50, p95, p99 = pooled([latencies / NS_PER_MS for latencies in taken], (50, 95, 99))
        queries = sum(len(latencies) for latencies in taken)
        yield ScenarioReport(
            scenario="offline",
            precision=label,
            batch_size=size,
            queries=queries,
            p50=p50,
            p95=p95,
            p99=p99,
            throughput=size * queries * NS_PER_S / sum(float(one.sum()) for one in taken),
            noisy=measured.unstable,
        )


def server(
    arms: Sequence[Arm], recorded: Arrays, options: BenchmarkSpec, *, size: int
) -> list[ScenarioReport]:
    """Latency under Poisson arrivals at the asked rate, each arm by itself, in real time.

    A batch is run when it is full, so that a sample waits for those behind it, and for the batches
    before it. As many samples are sent as the wanted percentile needs, or as the time allows.
    """
    rate = options.arrival_rate
    if rate is None:
        return []
    wanted = options.queries or statistics.queries_needed(options.percentile)
    found = []
    for arm in arms:
        windows = []
        for seed in range(FEW_PROCESSES):
            work = partial(
                _serve_in_process,
                arm,
                recorded,
                rate=rate,
                size=size,
                samples=math.ceil(wanted / FEW_PROCESSES / size) * size,
                most_s=options.max_seconds / FEW_PROCESSES,
                seed=seed,
            )
            what = f"the server scenario of {arm.label}"
            windows.append(in_process(work, returns=Windows, what=what))
        taken = windows_at(windows, sizes_of(windows)[0], wanted=FEW_PROCESSES)
        found.append(_server_row(taken, rate=rate, slo_p99_ms=options.slo_p99_ms))
    return found


def _server_row(measured: Measured, *, rate: float, slo_p99_ms: float | None) -> ScenarioReport:
    (label,) = measured.labels
    taken = [window.of(label) / NS_PER_MS for window in measured.windows]
    p50, p95, p99 = pooled(taken, (50, 95, 99))
    samples = sum(len(latencies) for latencies in taken)
    elapsed_s = sum(window.elapsed_s or 0.0 for window in measured.windows)
    return ScenarioReport(
        scenario="server",
        precision=label,
        batch_size=measured.batch_size,
        queries=samples,
        arrival_rate=rate,
        p50=p50,
        p95=p95,
        p99=p99,
        throughput=samples / elapsed_s if elapsed_s else 0.0,
        meets_slo=meets_slo(p99=p99, others=(p50, p95), slo_p99_ms=slo_p99_ms),
        noisy=measured.unstable,
    )


def _serve_in_process(
    arm: Arm,
    recorded: Arrays,
    *,
    rate: float,
    size: int,
    samples: int,
    most_s: float,
    seed: int,
) -> Windows:
    sessions = {arm.label: arm.open()}
    batch = BatchDimension.of(sessions[arm.label].inputs)
    (taken,) = batch.sizes((size,))
    feeds = feeds_of(sessions, recorded, batch=batch, size=taken)
    query = bind_all(sessions, feeds)[arm.label]
    arrivals = poisson_arrivals(rate=rate, samples=max(samples, taken), seed=seed)
    with pinned([arm]):
        warm_up(query, most_s=most_s / 4)
        before, began = conditions.Clocks.read(), time.perf_counter()
        latencies, running_ns = serve(query, arrivals, batch=taken, most_s=most_s)
        after, wall_s = conditions.Clocks.read(), time.perf_counter() - began
    window = Window(
        batch_size=taken,
        latencies_ns={arm.label: tuple(latencies)},
        noisy=conditions.is_noisy(
            before,
            after,
            running_s=running_ns / NS_PER_S,
            wall_s=wall_s,
            threads=most_threads([arm]),
            waits=waits([arm]),
        ),
        others_percent=after.others_percent_since(before, wall_s=wall_s),
        elapsed_s=wall_s,
    )
    return Windows(windows=(window,))


def poisson_arrivals(*, rate: float, samples: int, seed: int) -> list[int]:
    """When each sample arrives, in nanoseconds from the start."""
    gaps = np.random.default_rng(seed).exponential(NS_PER_S / rate, samples)
    arrivals: list[int] = np.cumsum(gaps).astype(np.int64).tolist()
    return arrivals


def wait_until(moment: int) -> None:
    """Sleep through most of the wait and be awake at its end."""
    while (left := moment - time.perf_counter_ns()) > 0:
        if left > 2 * SLEEP_SLACK_NS:
            time.sleep((left - SLEEP_SLACK_NS) / NS_PER_S)


def serve(
    query: Query,
    arrivals: Sequence[int],
    *,
    batch: int,
    most_s: float,
    clock: Clock = time.perf_counter_ns,
    wait: Callable[[int], None] = wait_until,
) -> tuple[list[int], int]:
    """Nanoseconds from each sample's arrival to its answer, and how long queries ran in all.

    Samples that do not fill a last batch are left out; nothing is begun after `most_s`, but there
    is one batch at least.
    """
    began = clock()
    latencies: list[int] = []
    running = 0
    for first in range(0, len(arrivals) - batch + 1, batch):
        wait(began + arrivals[first + batch - 1])
        started = clock()
        query()
        ended = clock()
        running += ended - started
        latencies += [ended - began - moment for moment in arrivals[first : first + batch]]
        if ended - began > most_s * NS_PER_S:
            break
    return latencies, running
