"""Benchmarks under Prefect: one at a time per device, reused on this machine alone, in the UI."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.settings import PREFECT_API_URL

from slipway.errors import ModelError, Transient
from slipway.protocols import BenchmarkJob
from slipway.reports import BenchmarkSuite
from slipway.settings import Settings
from slipway.stages import measuring
from slipway.stages.devices import device_lock
from tasks.pages import publish_suite, slug
from tasks.policy import RUNTIME, stage

REPORT_TYPE: Final = "slipway-report"
"""Type of the artifact by which a worker's run says where its report is."""
LEASE_S: Final = 60.0
"""How long the device of a run that was killed stays taken."""


def _benchmark_reads(given: dict[str, Any]) -> object:
    return measuring.benchmark_reads(given["job"])


@stage(
    name="benchmark",
    run_name="benchmark {job.name} on {job.provider}",
    code_version=4,
    reads=_benchmark_reads,
    tools=RUNTIME,
)
def benchmark_models(job: BenchmarkJob) -> BenchmarkSuite:
    """All variants on one provider, interleaved; never reused on another host."""
    with device_for_itself(measuring.device_name(job)):
        return measuring.benchmark_models(job)


@contextmanager
def device_for_itself(name: str) -> Iterator[None]:
    """Wait for a device and keep it.

    Runs that share a server take a global concurrency limit of one, made when first needed; one
    that somebody changed is left as it is. The device of a process that is killed is free again
    when its lease ends. Without a server it is a lock of this machine.

    Raises:
        Transient: when it stays taken for as long as a stage may take.
    """
    patience_s = Settings().timeout_s
    shared = PREFECT_API_URL.value() is not None
    with _limit(name, patience_s) if shared else device_lock(name, patience_s=patience_s):
        yield


@contextmanager
def _limit(name: str, patience_s: float) -> Iterator[None]:
    _make_limit(name)
    waiting = concurrency(
        name,
        timeout_seconds=patience_s,
        lease_duration=LEASE_S,
        strict=True,  # without it a limit that is not there guards nothing
        # A server that is away for a minute costs at worst a disturbed window, which is marked.
        raise_on_lease_renewal_failure=False,
    )
    try:
        waiting.__enter__()
    except TimeoutError as error:
        raise Transient(f"{name}: other benchmarks kept it for {patience_s:g} s") from error
    try:
        yield
    finally:
        waiting.__exit__(None, None, None)


def _make_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            with suppress(ObjectAlreadyExists):  # made by another meanwhile
                client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=name, limit=1)
                )


def settle_benchmark(job: BenchmarkJob, ended: State[BenchmarkSuite]) -> BenchmarkSuite:
    """A benchmark's report; a model that cannot be measured is a failed one.

    Its table is left in the UI, under the same key each time.
    """
    found: BenchmarkSuite | BaseException = ended.result(raise_on_failure=False)
    if isinstance(found, ModelError):
        found = BenchmarkSuite(provider=job.provider, status="failed", reason=str(found))
    if isinstance(found, BaseException):
        raise found
    suite = BenchmarkSuite.model_validate(found)
    publish_suite(job.name, suite)
    return suite


def hand_over(job: BenchmarkJob, suite: BenchmarkSuite) -> None:
    """Put the report into the store, and say in this run where: only a reference travels."""
    ref = measuring.keep_suite(suite)
    Artifact(
        type=REPORT_TYPE,
        key=f"report-{slug(job.name)}-{suite.provider}",
        description=f"The report of {job.name} on {suite.provider}, in the store",
        data=ref.model_dump(mode="json"),
    ).create()
