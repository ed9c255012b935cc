"""The measurement: every variant side by side, query by query, in several fresh processes.

Two processes of one model differ by some percent through memory layout alone, so each measures
some of the queries, and the intervals are over processes as well as over queries.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from slipway.benchmarking import conditions, statistics
from slipway.benchmarking.arms import Arm, bind_all, feeds_of, most_threads, pinned, waits
from slipway.benchmarking.inputs import BatchDimension, largest_case
from slipway.benchmarking.loop import Window, run_interleaved
from slipway.benchmarking.processes import in_process
from slipway.benchmarking.rows import Windows, others_percent, report, sizes_of, windows_at
from slipway.benchmarking.soundness import prove, too_little
from slipway.errors import EnvironmentMissing, RequestError
from slipway.protocols import BenchmarkRequest
from slipway.providers import PROVIDERS, allotted_cores
from slipway.reports import BenchmarkReport, BenchmarkSuite, Placement, SessionSettings
from slipway.samples.arrays import Arrays
from slipway.samples.golden import GoldenSet
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


def measure(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    """Measure all variants against the first, which is the baseline.

    A model with a fixed batch dimension is measured at that size alone, whatever was asked for. A
    provider that does not load is no error but a suite that says so; then the variants are measured
    on the CPU, labelled as that, unless the CPU is asked for anyway.

    Raises:
        RequestError: when there are no models.
        SourceNotFound, DataError: for the golden set, or where it does not fit the models.
        CheckFailed: when a model does not load or run, gives NaN or is not deterministic.
        EnvironmentMissing: when there is no onnxruntime at all.
    """
    if not request.models:
        raise RequestError("a benchmark needs at least one model")
    try:
        return _measure(request, scratch)
    except EnvironmentMissing as error:
        if request.provider == "cpu":
            raise
        fallback = request.model_copy(update={"provider": "cpu"})
        if "cpu" in request.options.providers:
            found = _describe_only(fallback, scratch)
        else:
            found = _measure(fallback, scratch)
        return found.model_copy(
            update={
                "provider": request.provider,
                "status": "missing environment",
                "reason": str(error),
                "rows": tuple(_relabelled(row, request.provider) for row in found.rows),
            }
        )


def _relabelled(row: BenchmarkReport, asked: str) -> BenchmarkReport:
    return row.model_copy(update={"provider": f"cpu fallback for {asked}"})


def _measure(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    options = request.options
    recorded = largest_case(GoldenSet.load(request.golden))
    arms = arms_of(request, scratch)
    load = conditions.load_average()
    before = conditions.Clocks.read()
    plan = Plan.of(options, arms=len(arms))
    found = collect(arms, recorded, plan, scratch=scratch)
    after = conditions.Clocks.read()
    broken = too_little(
        found[0].placements,
        ort_name=PROVIDERS[request.provider].ort_name,
        least=options.min_provider_share,
    )
    return BenchmarkSuite(
        provider=request.provider,
        status="failed" if broken else "measured",
        reason=broken,
        conditions=conditions.describe(
            settings=arms[0].settings,
            confidence=statistics.CONFIDENCE,
            load_average=load,
            steal_percent=after.steal_percent_since(before),
            others_percent=others_percent(found),
            provider_options=arms[0].provider_options,
        ),
        rows=tuple(
            row
            for size in sizes_of(found)
            for row in report(
                windows_at(found, size, wanted=plan.processes),
                provider=request.provider,
                slo_p99_ms=options.slo_p99_ms,
            )
        ),
        placements=found[0].placements,
    )


def _describe_only(request: BenchmarkRequest, scratch: Path) -> BenchmarkSuite:
    """The conditions of a suite in which nothing was measured."""
    (arm, *_) = arms_of(request, scratch)
    return BenchmarkSuite(
        provider=request.provider,
        conditions=conditions.describe(
            settings=arm.settings,
            confidence=statistics.CONFIDENCE,
            load_average=conditions.load_average(),
            steal_percent=None,
        ),
        rows=(),
    )


def arms_of(request: BenchmarkRequest, scratch: Path) -> list[Arm]:
    """An arm for each variant, under the settings that the spec asks for."""
    if request.provider not in PROVIDERS:
        raise RequestError(f"no provider {request.provider!r}; there are {', '.join(PROVIDERS)}")
    given = {str(name): options for name, options in request.options.provider_options.items()}
    return [
        Arm(
            label=label,
            model=model,
            provider=request.provider,
            settings=SessionSettings(
                intra_op_threads=request.options.intra_op_threads or allotted_cores()
            ),
            cache=scratch,
            options=given.get(request.provider, {}),
        )
        for label, model in request.models.items()
    ]


def collect(arms: Sequence[Arm], recorded: Arrays, plan: Plan, *, scratch: Path) -> list[Windows]:
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
            seed=len(found),
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

    With a scratch folder it first proves that they are sound.
    """
    sessions = {arm.label: arm.open(record=scratch is not None) for arm in arms}
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
