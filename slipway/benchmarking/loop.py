"""What is measured inside one process: warm up, then rounds of one query of every arm.

An arm is one model under one set of settings. Each round takes the arms in a new random order:
taken one after the other, two equal models differ by 30 % in one of ten tries on a busy machine;
interleaved, with paired ratios, by 3 %.
"""

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import numpy.typing as npt

from slipway.artifacts import Value
from slipway.benchmarking import conditions
from slipway.samples.arrays import Array

Query = Callable[[], object]
Nanoseconds = npt.NDArray[np.int64]

NS_PER_MS: Final = 1e6
NS_PER_S: Final = 1e9

WARMUP_WINDOW: Final = 5
WARMUP_TOLERANCE: Final = 0.01
WARMUP_MOST: Final = 100
WARMUP_SHARE: Final = 0.25
# A busy machine is never stable to 1 %; there, warming up takes no more than a tenth of the rounds.
WARMUP_ROUNDS: Final = 10


class Window(Value):
    """Latencies from one process at one batch size; position i of every arm is from one round."""

    batch_size: int
    latencies_ns: dict[str, tuple[int, ...]]
    noisy: bool
    others_percent: float | None = None
    elapsed_s: float | None = None

    def of(self, label: str) -> Array:
        """One arm's latencies in nanoseconds."""
        return np.asarray(self.latencies_ns[label], np.float64)

    @property
    def rounds(self) -> int:
        """How many rounds were run."""
        return len(next(iter(self.latencies_ns.values())))


def run_interleaved(
    queries: Mapping[str, Query],
    *,
    batch_size: int,
    rounds: int,
    most_s: float,
    threads: int,
    waits: bool,
    seed: int,
) -> Window:
    """Warm up, then run rounds; ends after `rounds`, or when `most_s` are over.

    `threads` is the most that a query runs on; `waits` says that it waits by nature, for other
    threads or for a device.
    """
    began = time.perf_counter()
    for query in queries.values():
        warm_up(
            query,
            most_s=WARMUP_SHARE * most_s / len(queries),
            most=min(WARMUP_MOST, max(2 * WARMUP_WINDOW, rounds // WARMUP_ROUNDS)),
        )
    left_s = most_s - (time.perf_counter() - began)
    orders = _orders(len(queries), rounds, seed)
    with _no_garbage_collection():
        before = conditions.Clocks.read()
        began = time.perf_counter()
        taken = run_rounds(list(queries.values()), orders, most_s=left_s)
        wall_s = time.perf_counter() - began
        after = conditions.Clocks.read()
    running_s = float(taken.sum()) / NS_PER_S
    return Window(
        batch_size=batch_size,
        latencies_ns={name: tuple(taken[:, index].tolist()) for index, name in enumerate(queries)},
        noisy=conditions.is_noisy(
            before, after, running_s=running_s, wall_s=wall_s, threads=threads, waits=waits
        ),
        others_percent=after.others_percent_since(before, wall_s=wall_s),
    )


def warm_up(
    query: Query,
    *,
    most_s: float,
    most: int = WARMUP_MOST,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> int:
    """Run until the median of the last five queries is within 1 % of the five before.

    Returns how many were run; stops at `most`, or when `most_s` is over.
    """
    times: list[int] = []
    start = clock()
    while len(times) < most:
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


def run_rounds(
    queries: Sequence[Query], orders: Sequence[Sequence[int]], *, most_s: float
) -> Nanoseconds:
    """Nanoseconds by round and query; at least one round, and none begun after `most_s`.

    Plain lists and one clock reading between queries: what is done here is paid for by every query
    that is measured.
    """
    clock = time.perf_counter_ns
    deadline = clock() + int(most_s * NS_PER_S)
    rows: list[list[int]] = []
    now = clock()
    for order in orders:
        row = [0] * len(queries)
        for index in order:
            query = queries[index]
            began = clock()
            query()
            now = clock()
            row[index] = now - began
        rows.append(row)
        if now > deadline:
            break
    return np.asarray(rows, np.int64)


def _orders(arms: int, rounds: int, seed: int) -> list[list[int]]:
    """A random order of the arms for each round; the same for the same seed."""
    random = np.random.default_rng(seed)
    orders: list[list[int]] = random.permuted(
        np.tile(np.arange(arms), (rounds, 1)), axis=1
    ).tolist()
    return orders


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Without collecting beforehand: that would touch, and so copy, all that a fork shares."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
