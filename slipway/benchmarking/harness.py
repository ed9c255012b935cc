"""The measurement: every variant in one process, interleaved query by query in random order.

Why so: taken one after the other, two equal models differ by 30 % in one of ten tries on a busy
machine; interleaved, with paired ratios, by 3 %.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.benchmarking import conditions, placement, statistics
from slipway.benchmarking.inputs import BatchDimension, largest_case, make_feeds
from slipway.benchmarking.objective import meets_slo
from slipway.errors import RequestError
from slipway.protocols import BenchmarkRequest, BenchmarkResult
from slipway.providers import allotted_cores
from slipway.providers.sessions import Session
from slipway.reports import BenchmarkReport
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet
from slipway.specs import BenchmarkSpec

Query = Callable[[], object]
Nanoseconds = npt.NDArray[np.int64]

SEED: Final = 0
NS_PER_MS: Final = 1e6
NS_PER_S: Final = 1e9

# Two sessions of one model in one process differ by about 1 %, in two processes by up to 4 %,
# through memory layout alone. Until several processes are measured, less is no difference.
RESOLUTION: Final = 0.04

WARMUP_WINDOW: Final = 5
WARMUP_TOLERANCE: Final = 0.01
WARMUP_MOST: Final = 100
WARMUP_SHARE: Final = 0.25


@dataclass(frozen=True)
class Window:
    """All latencies of one batch size; column i of every variant is from the same round."""

    batch_size: int
    latencies: Mapping[str, Nanoseconds]
    noisy: bool


def measure(request: BenchmarkRequest, scratch: Path) -> BenchmarkResult:  # noqa: ARG001 - a stage
    """Measure all variants against the first, which is the baseline.

    A model with a fixed batch dimension is measured at that size alone, whatever was asked for.

    Raises:
        RequestError: when there are no models.
        SourceNotFound, DataError: for the golden set, or where it does not fit the models.
        CheckFailed: when a model does not load or run.
    """
    if not request.models:
        raise RequestError("a benchmark needs at least one model")
    options = request.options
    threads = options.intra_op_threads or allotted_cores()
    recorded = largest_case(GoldenSet.load(request.golden))
    load = conditions.load_average()
    before = conditions.Clocks.read()
    cores = placement.allotted()
    sessions = {
        precision: Session(
            model,
            provider=request.provider,
            intra_op_threads=threads,
            entries=placement.session_entries(threads, cores),
        )
        for precision, model in request.models.items()
    }
    batch = BatchDimension.of(next(iter(sessions.values())).inputs)
    rows: list[BenchmarkReport] = []
    for size in batch.sizes(options.batch_sizes):
        queries = {
            precision: session.bind(make_feeds(session.inputs, recorded, batch=batch, size=size))
            for precision, session in sessions.items()
        }
        with placement.caller_pinned(threads, cores):
            window = run_interleaved(queries, batch_size=size, options=options, threads=threads)
        rows.extend(report(window, provider=request.provider, options=options))
    steal = conditions.Clocks.read().steal_percent_since(before)
    return BenchmarkResult(
        conditions=conditions.describe(
            intra_op_threads=threads,
            confidence=statistics.CONFIDENCE,
            load_average=load,
            steal_percent=steal,
        ),
        rows=tuple(rows),
    )


def run_interleaved(
    queries: Mapping[str, Query], *, batch_size: int, options: BenchmarkSpec, threads: int
) -> Window:
    """Warm up, then run rounds of one query of every variant, each round in a new random order.

    Ends after `options.queries` rounds, or when the variants' time budget is used up.
    """
    for query in queries.values():
        warm_up(query, most_s=WARMUP_SHARE * options.max_seconds)
    names = list(queries)
    orders = _orders(len(names), options.queries)
    taken = np.zeros((len(names), options.queries), np.int64)
    budget_ns = int(options.max_seconds * len(names) * NS_PER_S)
    with _no_garbage_collection():
        before = conditions.Clocks.read()
        rounds = _run_rounds(list(queries.values()), orders, taken, budget_ns)
        after = conditions.Clocks.read()
    taken = taken[:, :rounds]
    running_s = float(taken.sum()) / NS_PER_S
    return Window(
        batch_size=batch_size,
        latencies={name: taken[index] for index, name in enumerate(names)},
        noisy=conditions.is_noisy(before, after, running_s=running_s, threads=threads),
    )


def warm_up(query: Query, *, most_s: float, clock: Callable[[], int] = time.perf_counter_ns) -> int:
    """Run until the median of the last five queries is within 1 % of the five before.

    Returns how many were run; stops at a hundred or when `most_s` is over.
    """
    times: list[int] = []
    start = clock()
    while len(times) < WARMUP_MOST:
        began = clock()
        query()
        times.append(clock() - began)
        if clock() - start > most_s * NS_PER_S:
            break
        if len(times) >= 2 * WARMUP_WINDOW:
            last = float(np.median(times[-WARMUP_WINDOW:]))
            previous = float(np.median(times[-2 * WARMUP_WINDOW : -WARMUP_WINDOW]))
            if abs(last - previous) <= WARMUP_TOLERANCE * previous:
                break
    return len(times)


def report(window: Window, *, provider: str, options: BenchmarkSpec) -> Iterator[BenchmarkReport]:
    """One row for each variant; the first is the baseline of all."""
    baseline = next(iter(window.latencies))
    for precision, latencies in window.latencies.items():
        milliseconds: Array = latencies / NS_PER_MS
        p50, p95, p99 = (statistics.estimate(milliseconds, p) for p in (50, 95, 99))
        ratio, interval = (
            (None, None)
            if precision == baseline
            else statistics.paired_ratio(latencies, window.latencies[baseline])
        )
        yield BenchmarkReport(
            precision=precision,
            provider=provider,
            batch_size=window.batch_size,
            queries=len(latencies),
            p50=p50,
            p95=p95,
            p99=p99,
            throughput=window.batch_size * len(latencies) * NS_PER_S / float(latencies.sum()),
            ratio=ratio,
            ratio_interval=interval,
            verdict=(
                "baseline"
                if precision == baseline
                else statistics.verdict(interval, resolution=RESOLUTION)
            ),
            meets_slo=(
                meets_slo(p99=p99, others=(p50, p95), slo_p99_ms=options.slo_p99_ms)
                if window.batch_size == 1
                else None
            ),
            noisy=window.noisy,
        )


def _run_rounds(
    queries: Sequence[Query], orders: npt.NDArray[np.intp], taken: Nanoseconds, budget_ns: int
) -> int:
    """Fill `taken` round by round; how many rounds were completed."""
    clock = time.perf_counter_ns
    deadline = clock() + budget_ns
    for number, order in enumerate(orders.tolist()):
        for index in order:
            query = queries[index]
            began = clock()
            query()
            taken[index, number] = clock() - began
        if clock() > deadline:
            return number + 1
    return len(orders)


def _orders(variants: int, rounds: int) -> npt.NDArray[np.intp]:
    """A random order of the variants for each round, the same in every run."""
    random = np.random.default_rng(SEED)
    return random.permuted(np.tile(np.arange(variants), (rounds, 1)), axis=1)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
