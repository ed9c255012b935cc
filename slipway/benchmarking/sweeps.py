"""The search for session settings and a batch size that serve one variant best."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, get_args

from slipway.benchmarking.arms import Arm
from slipway.benchmarking.collecting import Plan, collect
from slipway.benchmarking.loop import NS_PER_MS
from slipway.benchmarking.resampling import pooled
from slipway.benchmarking.rows import compare, sizes_of, windows_at
from slipway.benchmarking.scenarios import SATURATED, offline, server
from slipway.benchmarking.selection import select_variant
from slipway.benchmarking.statistics import CONFIDENCE
from slipway.providers import allotted_cores
from slipway.reports import (
    BenchmarkReport,
    ScenarioReport,
    SessionSettings,
    SettingsTrial,
    SweepReport,
)
from slipway.samples.arrays import Arrays
from slipway.specs import PRECISIONS, BenchmarkSpec, Optimization, SweepSpec

TRIAL_QUERIES: Final = 210


def sweep(
    arms: Sequence[Arm],
    rows: Sequence[BenchmarkReport],
    recorded: Arrays,
    options: BenchmarkSpec,
    *,
    scratch: Path,
) -> SweepReport:
    """Search for the best of the arms, which is the one that a release would select."""
    asked = options.sweep or SweepSpec()
    arm = best_of(arms, rows, slo_p99_ms=options.slo_p99_ms)
    arm = replace(arm, precision=arm.precision or arm.label)
    settings = arm.settings
    trials: tuple[SettingsTrial, ...] = ()
    if asked.session:
        settings, trials = choose_settings(arm, recorded, options, scratch=scratch)
        arm = replace(arm, settings=settings)
    batches = tuple(offline([arm], recorded, options, scratch=scratch)) if asked.batch else ()
    return SweepReport(
        precision=arm.label,
        settings=settings,
        provider_options=arm.reported_options,
        trials=trials,
        batches=batches,
        best_batch_size=saturation(batches),
        largest_within_slo=_largest_within_slo(arm, batches, recorded, options),
    )


def best_of(
    arms: Sequence[Arm], rows: Sequence[BenchmarkReport], *, slo_p99_ms: float | None
) -> Arm:
    """The arm that a release would select; of bare files the one that is fastest for sure."""
    labels = {arm.label for arm in arms}
    known = {precision for precision in PRECISIONS if precision in labels}
    if known == labels:
        chosen: str = select_variant(rows, passed=known, slo_p99_ms=slo_p99_ms)
    else:
        faster = [row for row in rows if row.verdict == "faster" and row.ratio is not None]
        chosen = min(faster, key=lambda row: row.ratio or 1.0, default=rows[0]).precision
    return next(arm for arm in arms if arm.label == chosen)


def choose_settings(
    arm: Arm, recorded: Arrays, options: BenchmarkSpec, *, scratch: Path
) -> tuple[SessionSettings, tuple[SettingsTrial, ...]]:
    """Threads, then the execution mode, then the optimisation level: what is faster for sure stays.

    All candidates of a step are measured side by side with the settings held best until then, and
    the confidence is shared among them, since of twenty equal ones one would win by chance.
    """
    best = arm.settings
    trials: list[SettingsTrial] = []
    for step in range(3):
        candidates = _candidates(best, step, fixed_threads=options.intra_op_threads is not None)
        if not candidates:
            continue
        tried = _try(arm, [best, *candidates], recorded, options, scratch=scratch)
        trials += tried
        faster = [trial for trial in tried if trial.verdict == "faster"]
        best = min(faster, key=lambda trial: trial.ratio or 1.0).settings if faster else best
    return best, tuple(trials)


def _candidates(
    settings: SessionSettings, step: int, *, fixed_threads: bool
) -> list[SessionSettings]:
    if step == 0:
        threads = [] if fixed_threads else _thread_counts(allotted_cores())
        tried = [settings.model_copy(update={"intra_op_threads": count}) for count in threads]
    elif step == 1:
        tried = [settings.model_copy(update={"execution_mode": "parallel"})]
    else:
        levels = get_args(Optimization)
        tried = [settings.model_copy(update={"graph_optimization": level}) for level in levels]
    return [one for one in tried if one != settings]


def _thread_counts(cores: int) -> list[int]:
    """Powers of two below the cores, and all of them."""
    return [1 << power for power in range(cores.bit_length()) if 1 << power < cores] + [cores]


def _try(
    arm: Arm,
    candidates: Sequence[SessionSettings],
    recorded: Arrays,
    options: BenchmarkSpec,
    *,
    scratch: Path,
) -> list[SettingsTrial]:
    """Every candidate but the first, beside the first."""
    arms = [replace(arm, label=_label(one), settings=one) for one in candidates]
    plan = Plan(
        sizes=(min(options.batch_sizes),),
        queries=TRIAL_QUERIES,
        processes=options.processes,
        budget_s=options.max_seconds * len(arms),
    )
    windows = collect(arms, recorded, plan, scratch=scratch)
    measured = windows_at(windows, sizes_of(windows)[0], wanted=plan.processes)
    confidence = 1.0 - (1.0 - CONFIDENCE) / (len(arms) - 1)
    tried = []
    for one, label in list(zip(candidates, measured.labels, strict=True))[1:]:
        ratio, interval, said = compare(measured, label, confidence=confidence)
        (p50,) = pooled([w.of(label) / NS_PER_MS for w in measured.windows], (50,))
        tried.append(
            SettingsTrial(settings=one, p50=p50, ratio=ratio, ratio_interval=interval, verdict=said)
        )
    return tried


def _label(settings: SessionSettings) -> str:
    return (
        f"{settings.intra_op_threads} threads, {settings.execution_mode}, "
        f"{settings.graph_optimization}"
    )


def saturation(batches: Sequence[ScenarioReport]) -> int | None:
    """The batch size after which twice as much gave less than 5 % more; None without any."""
    best: ScenarioReport | None = None
    for row in batches:
        if best is None or row.throughput > SATURATED * best.throughput:
            best = row
        else:
            break
    return best.batch_size if best else None


def _largest_within_slo(
    arm: Arm, batches: Sequence[ScenarioReport], recorded: Arrays, options: BenchmarkSpec
) -> int | None:
    """Tried from the largest down, in real time; the first that is known to meet the objective."""
    if options.slo_p99_ms is None or options.arrival_rate is None:
        return None
    for row in reversed(batches):
        (served,) = server([arm], recorded, options, size=row.batch_size)
        if served.meets_slo is True:
            return row.batch_size
    return None
