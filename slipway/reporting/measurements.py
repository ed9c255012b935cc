"""One provider's measurements as rows of plain text, with the conditions in a sentence."""

from slipway.reporting import cells, summary
from slipway.reporting import formatting as fmt
from slipway.reports import BenchmarkReport, BenchmarkSuite


def measurements_table(suite: BenchmarkSuite) -> list[dict[str, str]]:
    """One row per variant and batch size; of a provider that gave none, its state and why."""
    if not suite.rows:
        return [
            {
                "provider": suite.provider,
                "status": suite.status,
                "reason": summary.brief(suite.reason or ""),
            }
        ]
    shares = {placed.precision: fmt.percent(placed.share) for placed in suite.placements}
    return [_row(row, suite, shares.get(row.precision, fmt.DASH)) for row in suite.rows]


def _row(row: BenchmarkReport, suite: BenchmarkSuite, share: str) -> dict[str, str]:
    """The verdict first: a page cuts a wide table off at its right."""
    elsewhere = {} if row.provider == suite.provider else {"ran on": row.provider}
    return {
        "variant": row.precision,
        **elsewhere,
        "batch": str(row.batch_size),
        "verdict": cells.speed(row),
        **{name: cells.latency(row, name) for name in cells.PERCENTILES},
        "latency / fp32": cells.ratio(row),
        "samples/s": fmt.significant(row.throughput),
        "queries": str(row.queries),
        "nodes there": share,
    }


def conditions_sentence(suite: BenchmarkSuite) -> str:
    """Where and with what it was measured, and what disturbed it; or why it was not."""
    at = suite.conditions
    lack = lack_sentence(suite)
    if at is None or (lack and not suite.rows):
        return lack or f"{suite.provider}: {suite.status}"
    noisy = sum(row.noisy for row in suite.rows)
    disturbed = f"; other load disturbed {fmt.count(noisy, 'measurement')}" if noisy else ""
    elsewhere = suite.status == "missing environment"
    measured = (
        f"Measured with {'the CPU in its place,' if elsewhere else suite.provider} on {at.cpu}, "
        f"{fmt.count(at.intra_op_threads, 'thread')}, {fmt.runtime(at.onnxruntime)}; "
        f"intervals of {fmt.percent(at.confidence, decimals=0)} confidence{disturbed}."
    )
    return f"{lack} {measured}" if lack else measured


def lack_sentence(suite: BenchmarkSuite) -> str | None:
    """Why a provider gave no measurement that counts; None where it gave one."""
    if suite.status == "measured":
        return None
    return summary.sentence(
        f"{suite.provider}: {suite.status}: {summary.brief(suite.reason or '')}"
    )
