"""Which variant to serve on a provider: the fastest that is right enough and quick enough."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from slipway.benchmarking.objective import meets_slo
from slipway.errors import ModelError
from slipway.reports import BenchmarkReport
from slipway.specs import PRECISIONS, Precision


def select_variant(
    rows: Sequence[BenchmarkReport],
    *,
    passed: AbstractSet[Precision],
    slo_p99_ms: float | None = None,
) -> Precision:
    """The best variant among one provider's rows.

    Judged at batch size 1, or else at the smallest one measured. Among the variants that passed
    validation, those known to meet the objective come first, then those of which it is undecided;
    where all are known to miss it they are compared none the less, since something must be
    served, and the rows say that the objective is missed. Of these the fastest wins, where only a
    verdict of `faster` or `slower` moves a variant from the baseline's speed, and of variants
    that cannot be told apart the one of higher precision.

    Raises:
        ModelError: when no variant that was measured passed.
    """
    smallest = min((row.batch_size for row in rows), default=1)
    judged = [row for row in rows if row.batch_size == smallest and row.precision in passed]
    if not judged:
        raise ModelError("no variant that was measured passed validation; there is none to select")
    known = {row.precision: _meets(row, slo_p99_ms) for row in judged}
    most = next(answer for answer in (True, None, False) if answer in known.values())
    candidates = [row for row in judged if known[row.precision] is most]
    best = min(map(_speed, candidates))
    fastest = {row.precision for row in candidates if _may_be_as_fast(row, best)}
    return next(precision for precision in PRECISIONS if precision in fastest)


def _meets(row: BenchmarkReport, slo_p99_ms: float | None) -> bool | None:
    return meets_slo(p99=row.p99, others=(row.p50, row.p95), slo_p99_ms=slo_p99_ms)


def _speed(row: BenchmarkReport) -> float:
    """Latency relative to the baseline, as far as the measurement can tell it from one."""
    return row.ratio if row.ratio is not None and row.verdict in {"faster", "slower"} else 1.0


def _may_be_as_fast(row: BenchmarkReport, best: float) -> bool:
    """Whether the row is the best, or its interval holds the best's ratio."""
    if _speed(row) <= best:
        return True
    return (
        row.verdict == "faster" and row.ratio_interval is not None and row.ratio_interval[0] <= best
    )
