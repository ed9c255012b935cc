"""Benchmarks on other pools' workers: started, watched, tried once more, never waited for in vain.

What a worker measured comes back as a reference to a report in the store. Whatever else becomes of
its run is a report that says so.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal

import httpx
import prefect.runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterType,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType, Worker
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.flows import Flow
from prefect.states import Cancelling, Crashed

from slipway.artifacts import ArtifactRef, canonical_json, digest_bytes
from slipway.errors import SlipwayError, Transient
from slipway.protocols import BenchmarkJob
from slipway.reports import BenchmarkSuite
from slipway.stages import measuring
from tasks.measuring import REPORT_TYPE, benchmark_models, settle_benchmark
from tasks.pages import publish_suite
from tasks.policy import stage

TRIES: Final = 2
LOOK_S: Final = 1.0
BEATS: Final = 3
"""A worker that misses so many heartbeats is gone, as Prefect's own server has it."""
BEAT_S: Final = 30
LEAST_SILENCE_S: Final = 90.0
"""A server on SQLite may lose a beat or two and stand still for a minute."""
WORKER: Final = "prefect.worker.name"

Lost = Literal["failed", "missing environment", "crashed"]


def measure(jobs: Sequence[BenchmarkJob]) -> list[BenchmarkSuite]:
    """Every job's report, in their order: those of other pools while this machine does its own."""
    away = [job for job in jobs if job.pool]
    elsewhere = benchmark_on_pools.submit(away) if away else None
    here = [
        settle_benchmark(job, benchmark_models(job, return_state=True))
        for job in jobs
        if not job.pool
    ]
    ours, theirs = iter(here), iter(elsewhere.result() if elsewhere else ())
    return [next(theirs if job.pool else ours) for job in jobs]


@stage(name="benchmark on pools", run_name="benchmark on pools")
def benchmark_on_pools(jobs: Sequence[BenchmarkJob]) -> tuple[BenchmarkSuite, ...]:
    """Every job on its provider's pool, all at the same time; a report of each, whatever happens.

    Raises:
        Transient: when Prefect's server does not answer; a retry finds the same runs again.
    """
    with _asking() as client:
        runs = [PoolRun(client, job) for job in jobs]
        while None in (suites := [run.look() for run in runs]):
            time.sleep(LOOK_S)
        return tuple(filter(None, suites))


def cancel_benchmarks(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001 - a hook's signature
    """For a release that is cancelled or dies: what it started on other pools ends too."""
    ours = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=ours):
            if run.state is None or not run.state.is_final():
                client.set_flow_run_state(run.id, Cancelling(message="its release has ended"))


class PoolRun:
    """One job on its pool, from its start to the report, which `look` finds at some time.

    Durations are by this process's clock: another machine's decides nothing.
    """

    def __init__(self, client: SyncPrefectClient, job: BenchmarkJob) -> None:
        self.job = job
        self.pool = job.options.pools[job.provider]
        self.suite: BenchmarkSuite | None = None
        self._client = client
        self._deaths: list[str] = []
        self._start()

    def look(self) -> BenchmarkSuite | None:
        """The report, as soon as there is one."""
        if self.suite is None:
            run = self._client.read_flow_run(self._id)
            if run.state is not None and run.state.is_final():
                self._end(run, run.state)
            elif run.state is None or run.state.type is StateType.SCHEDULED:
                self._wait(run)
            else:
                self._watch(run)
        return self.suite

    def _start(self) -> None:
        self._since, self._begun = time.monotonic(), False
        self._beat: tuple[datetime | None, float] = (None, self._since)
        job = self.job.model_dump(mode="json")
        about = [prefect.runtime.flow_run.id, self.pool, job, len(self._deaths)]
        try:
            run = run_deployment(
                f"benchmark/{self.pool}",
                parameters={"job": job},
                timeout=0,
                # A release that is resumed, and this task when it is retried, find the same run.
                idempotency_key=digest_bytes(canonical_json(about)),
            )
        except ObjectNotFound:
            self._lose(
                "missing environment",
                f"there is no deployment benchmark/{self.pool} on this Prefect server; on a "
                f"machine with {self.job.provider}: python -m deployments.worker {self.pool}",
            )
        else:
            assert isinstance(run, FlowRun)  # noqa: S101 - its type names async use as well
            self._id = run.id

    def _wait(self, run: FlowRun) -> None:
        """For a worker to take it."""
        limit_s = self.job.options.pool_start_seconds
        if time.monotonic() - self._since > limit_s:
            self._cancel(run)
            self._lose(
                "missing environment",
                f"no worker of pool {self.pool} took the benchmark within {limit_s:g} s; on a "
                f"machine with {self.job.provider}: python -m deployments.worker {self.pool}",
            )

    def _watch(self, run: FlowRun) -> None:
        """While a worker is at it, which it is from the moment that it prepares to start it."""
        if not self._begun:
            self._begun, self._since = True, time.monotonic()
            self._beat = (None, self._since)
        limit_s = self.job.options.pool_run_seconds
        if time.monotonic() - self._since > limit_s:
            self._cancel(run)
            self._lose("crashed", f"the worker gave no report within {limit_s:g} s")
        elif (gone := self._worker_gone(run)) is not None:
            # Nobody else would ever end a run whose machine is gone.
            self._client.set_flow_run_state(run.id, Crashed(message=gone), force=True)
            self._die(gone)

    def _worker_gone(self, run: FlowRun) -> str | None:
        """Why the run's worker is taken for dead; None while its heart beats, or is not known."""
        name = run.labels.get(WORKER)
        worker = next((one for one in self._workers() if one.name == name), None)
        if worker is None:
            return None if name is None else f"worker {name} is gone from the pool"
        now = time.monotonic()
        if worker.last_heartbeat_time != self._beat[0]:
            self._beat = (worker.last_heartbeat_time, now)
        silent_s = max(BEATS * (worker.heartbeat_interval_seconds or BEAT_S), LEAST_SILENCE_S)
        if now - self._beat[1] > silent_s:
            return f"worker {name} gave no sign of life for {silent_s:g} s in mid-benchmark"
        return None

    def _workers(self) -> list[Worker]:
        try:
            return self._client.read_workers_for_work_pool(self.pool)
        except ObjectNotFound:
            return []

    def _end(self, run: FlowRun, state: State[Any]) -> None:
        message = state.message or f"its run ended as {state.name}"
        if (ref := self._report_of(run)) is not None:
            try:
                self.suite = measuring.fetch_suite(ref)
            except SlipwayError as error:
                self._lose(
                    "failed", f"{error}; the pool's workers need the same SLIPWAY_STORE as releases"
                )
        elif state.is_crashed():
            self._die(message)
        else:
            self._lose("crashed" if state.is_cancelled() else "failed", message)

    def _report_of(self, run: FlowRun) -> ArtifactRef | None:
        wanted = ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]),
            type=ArtifactFilterType(any_=[REPORT_TYPE]),
        )
        found = self._client.read_artifacts(artifact_filter=wanted)
        return ArtifactRef.model_validate_json(str(found[0].data)) if found else None

    def _die(self, reason: str) -> None:
        self._deaths.append(reason)
        if len(self._deaths) < TRIES:
            self._start()
        else:
            self._lose("crashed", f"it was tried {TRIES} times")

    def _lose(self, status: Lost, reason: str) -> None:
        """No numbers: a report with the reason in their place."""
        self.suite = BenchmarkSuite(
            provider=self.job.provider,
            status="crashed" if self._deaths else status,
            reason="; ".join([*self._deaths, reason]),
        )
        publish_suite(self.job.name, self.suite)

    def _cancel(self, run: FlowRun) -> None:
        self._client.set_flow_run_state(run.id, Cancelling(message="its release waits no longer"))


@contextmanager
def _asking() -> Iterator[SyncPrefectClient]:
    """A client whose failures to reach the server are ours.

    Raises:
        Transient: when the server is away, or too busy for longer than the client asks again.
    """
    try:
        with get_client(sync_client=True) as client:
            yield client
    except httpx.TransportError as error:
        raise Transient(f"Prefect's server does not answer: {error}") from error
    except PrefectHTTPStatusError as error:
        if error.response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            raise
        raise Transient(f"Prefect's server is busy: {error}") from error
