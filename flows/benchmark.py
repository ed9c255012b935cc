"""The benchmark recipe: a release's variants, measured by the worker that has their provider."""

from prefect import flow
from prefect.client.schemas.objects import State

from slipway.protocols import BenchmarkJob
from slipway.reports import BenchmarkSuite
from tasks.endings import failed
from tasks.measuring import benchmark_models, hand_over, settle_benchmark


@flow(
    name="benchmark",
    flow_run_name="benchmark {job.name} on {job.provider}",
    persist_result=False,
    result_serializer="json",
)
def benchmark(job: BenchmarkJob) -> BenchmarkSuite | State[BenchmarkSuite]:
    """Measure variants on this worker's provider, side by side, and hand the report over.

    Args:
        job: What is measured: references to models and inputs in the store that this worker
            shares with whoever asks, and how.
    """
    suite = settle_benchmark(job, benchmark_models(job, return_state=True))
    hand_over(job, suite)
    return suite if suite.status == "measured" else failed(suite, suite.reason)
