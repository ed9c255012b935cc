"""What `slipway benchmark` tells a person."""

import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from slipway.cli.output import complain, say
from slipway.errors import RequestError
from slipway.reporting import cells
from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkSuite,
    Estimate,
    ScenarioReport,
    SessionSettings,
    SweepReport,
)

_PIPED_WIDTH: Final = 160


def parse_dimensions(given: Sequence[str]) -> dict[str, int]:
    """`NAME=SIZE` options as a mapping.

    Raises:
        RequestError: for one that is not of that form.
    """
    found = {}
    for text in given:
        name, _, size = text.partition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise RequestError(f"--dim {text}: write NAME=SIZE, such as sequence=128")
        found[name] = int(size)
    return found


def print_benchmark(result: BenchmarkSuite) -> None:
    """A line per model and batch size, then the conditions."""
    if result.reason is not None:
        complain(f"{result.provider}: {result.status}: {result.reason}")
    table = Table()
    for heading in (
        "model",
        "batch",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "samples/s",
        "ratio",
        "verdict",
    ):
        table.add_column(heading, overflow="fold")
    for row in result.rows:
        elsewhere = "" if row.provider == result.provider else f" ({row.provider})"
        table.add_row(
            row.precision + elsewhere,
            str(row.batch_size),
            *(_estimate(estimate) for estimate in (row.p50, row.p95, row.p99)),
            f"{row.throughput:.0f}",
            "" if row.ratio is None else cells.ratio(row),
            row.verdict + (" (unstable)" if row.noisy else ""),
        )
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)
    for load in result.scenarios:
        _print_scenario(load)
    if result.sweep is not None:
        _print_sweep(result.sweep)
    _print_conditions(result)


def _print_scenario(row: ScenarioReport) -> None:
    at = f", {row.arrival_rate:g} samples/s arriving" if row.arrival_rate else ""
    objective = {True: "; keeps the SLO", False: "; misses the SLO", None: ""}[row.meets_slo]
    times = ", ".join(
        f"{name} {fmt.estimate(found)}"
        for name, found in (("p50", row.p50), ("p99", row.p99))
        if found.value_ms is not None
    )
    say(
        f"{row.scenario} {row.precision}, batch {row.batch_size}{at}: {row.throughput:.0f} "
        f"samples/s, {times or 'too few queries for percentiles'}{objective}"
    )


def _print_sweep(found: SweepReport) -> None:
    for trial in found.trials:
        settings = _settings(trial.settings)
        say(f"sweep {found.precision}, {settings}: {trial.ratio or 1.0:.3f}, {trial.verdict}")
    for row in found.batches:
        _print_scenario(row)
    batch = found.best_batch_size
    saturates = "" if batch is None else f"; throughput saturates at batch size {batch}"
    largest = found.largest_within_slo
    within = "" if largest is None else f"; the largest within the SLO is {largest}"
    say(f"recommended for {found.precision}: {_settings(found.settings)}{saturates}{within}")


def _settings(settings: SessionSettings) -> str:
    return (
        f"{settings.intra_op_threads} threads, {settings.execution_mode}, "
        f"optimisation {settings.graph_optimization}"
    )


def _print_conditions(result: BenchmarkSuite) -> None:
    """What the numbers depend on, where nodes ran, and what disturbed the measurement."""
    at = result.conditions
    if at is None:
        return
    processes = max((row.processes for row in result.rows), default=0)
    clock = "" if at.frequency_mhz is None else f" at {at.frequency_mhz:.0f} MHz"
    others = "" if at.others_percent is None else f", others on {at.others_percent:.0f} % of it"
    stolen = "" if not at.steal_percent else f", {at.steal_percent:.1f} % stolen"
    say(
        f"{at.cpu}{clock}, {at.intra_op_threads} threads, {fmt.runtime(at.onnxruntime)}, load "
        f"{at.load_average:.1f}{others}{stolen}; {processes} processes, intervals at "
        f"{at.confidence:.0%} confidence"
    )
    for placed in result.placements:
        nodes = sum(sum(counts.values()) for counts in placed.operators.values())
        copies = "" if not placed.copies else f", {placed.copies} copies between devices"
        if placed.share < 1 or copies:
            where = f"of {nodes} nodes on {result.provider}"
            say(f"{placed.precision}: {placed.share:.0%} {where}{copies}")
    if any(row.noisy for row in result.rows):
        say("unstable: other processes ran all the while; the intervals allow for it")


def _estimate(estimate: Estimate) -> str:
    """Significant digits, since a query may take microseconds or minutes."""
    if estimate.value_ms is None:
        return "too few queries"
    value = fmt.significant(estimate.value_ms)
    if estimate.low_ms is None or estimate.high_ms is None:
        return value
    return f"{value} ({fmt.interval(estimate.low_ms, estimate.high_ms)})"
