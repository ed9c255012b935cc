"""What `slipway benchmark` tells a person."""

import sys

from rich.console import Console
from rich.table import Table

from slipway.cli.output import say
from slipway.reports import BenchmarkSuite, Estimate


def print_benchmark(result: BenchmarkSuite) -> None:
    """A line per model and batch size, then the conditions."""
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
        table.add_row(
            row.precision,
            str(row.batch_size),
            *(_estimate(estimate) for estimate in (row.p50, row.p95, row.p99)),
            f"{row.throughput:.0f}",
            ratio,
            row.verdict + (" (unstable)" if row.noisy else ""),
        )
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120).print(table)
    conditions = result.conditions
    say(
        f"{conditions.cpu}, {conditions.intra_op_threads} threads, onnxruntime "
        f"{conditions.onnxruntime}, load {conditions.load_average:.1f}; intervals at "
        f"{conditions.confidence:.0%} confidence"
    )


def _estimate(estimate: Estimate) -> str:
    if estimate.value_ms is None:
        return "too few queries"
    if estimate.low_ms is None or estimate.high_ms is None:
        return f"{estimate.value_ms:.3f}"
    return f"{estimate.value_ms:.3f} [{estimate.low_ms:.3f}, {estimate.high_ms:.3f}]"
