"""Whether a latency objective is met, missed, or undecided."""

from collections.abc import Iterable

from slipway.reports import Estimate


def meets_slo(
    *, p99: Estimate, others: Iterable[Estimate] = (), slo_p99_ms: float | None
) -> bool | None:
    """Whether the p99 is known to be within the objective; None while it is undecided.

    Yes needs the interval's upper end within it, so that luck is not promised to a user. No needs
    a lower end beyond it, of the p99 or of a smaller percentile, which few queries suffice for.
    """
    if slo_p99_ms is None:
        return None
    lows = [known.low_ms for known in (p99, *others) if known.low_ms is not None]
    if any(low > slo_p99_ms for low in lows):
        return False
    if p99.high_ms is not None and p99.high_ms <= slo_p99_ms:
        return True
    return None
