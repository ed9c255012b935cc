"""What `slipway benchmark` tells a person."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from slipway.cli.output import complain, say
from slipway.errors import RequestError
from slipway.reporting import formatting as fmt
from slipway.reports import (
    BenchmarkSuite,
    Estimate,
    ScenarioReport,
    SessionSettings,
    SweepReport,
)


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
        table.add_column(heading)
    for row in result.rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        if row.ratio_interval is not None:
            ratio += f" [{row.ratio_interval[0]:.3f}, {row.ratio_interval[1]:.3f}]"
        elsewhere = "" if row.provider == result.provider else f" ({row.provider})"
        table.add_row(
            row.precision + elsewhere,
            str(row.batch_size),
            *(_estimate(estimate) for estimate in (row.p50, row.p95, row.p99)),
            f"{row.throughput:.0f}",
            ratio,
            row.verdict + (" (unstable)" if row.noisy else ""),
        )
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    for load in result.scenarios:
        _print_scenario(load)
    if result.sweep is not None:
        _print_sweep(result.sweep)
    _print_conditions(result)


def _print_scenario(row: ScenarioReport) -> None:
    at = f", {row.arrival_rate:g} samples/s arriving" if row.arrival_rate else ""
    objective = {True: "; keeps the SLO", False: "; misses the SLO", None: ""}[row.meets_slo]
    say(
        f"{row.scenario} {row.precision}, batch {row.batch_size}{at}: {row.throughput:.0f} "
        f"samples/s, p50 {_estimate(row.p50)} ms, p99 {_estimate(row.p99)} ms{objective}"
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
    say(
        f"{at.cpu}, {at.intra_op_threads} threads, {fmt.runtime(at.onnxruntime)}, load "
        f"{at.load_average:.1f}; {processes} processes, intervals at {at.confidence:.0%} confidence"
    )
    for placed in result.placements:
        nodes = sum(sum(counts.values()) for counts in placed.operators.values())
        copies = "" if not placed.copies else f", {placed.copies} copies between devices"
        if placed.share < 1 or copies:
            where = f"of {nodes} nodes on {result.provider}"
            say(f"{placed.precision}: {placed.share:.0%} {where}{copies}")
    if any(row.noisy for row in result.rows):
        others = "" if at.others_percent is None else f" ({at.others_percent:.0f} % of the machine)"
        say(f"unstable: other processes ran all the while{others}; the intervals allow for it")


def _estimate(estimate: Estimate) -> str:
    if estimate.value_ms is None:
        return "too few queries"
    if estimate.low_ms is None or estimate.high_ms is None:
        return f"{estimate.value_ms:.3f}"
    return f"{estimate.value_ms:.3f} [{estimate.low_ms:.3f}, {estimate.high_ms:.3f}]"
