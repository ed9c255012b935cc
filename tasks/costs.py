"""What a run has cost, once in its log: for people as a sentence, for machines as fields."""

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger

from slipway.reporting.summary import cost_sentence
from slipway.reports import CacheReport, CostReport
from slipway.stages.costs import Meter


def settle_costs(meter: Meter, cache: CacheReport, *, model: str | None = None) -> CostReport:
    """Read the meter at the end of a run, and log it.

    Args:
        meter: Started where the run began.
        cache: How much of the run's work was there already.
        model: The model that the run is about, if it is about one.
    """
    cost = meter.read()
    if FlowRunContext.get() is not None:
        fields = cost.model_dump() | {"cache_hits": cache.hits, "cache_misses": cache.misses}
        get_run_logger().info(cost_sentence(cost, cache), extra={**fields, "model": model})
    return cost
