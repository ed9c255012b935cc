"""Benchmarks on pools as a release sees them, whatever becomes of the run: on a real server.

No worker is started: the test plays it, by what a worker tells the server.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect.runtime
import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.deployments import run_deployment
from prefect.states import Completed, Crashed, Failed, Running

from deployments import automations
from deployments.worker import deploy
from slipway.protocols import BenchmarkJob
from slipway.reports import BenchmarkSuite
from slipway.specs import ReleaseSpec
from slipway.stages.measuring import benchmark_jobs, keep_suite
from slipway.stores import open_store
from tasks import pools
from tasks.measuring import REPORT_TYPE, device_for_itself
from tests.flows.running import changed, run
from tests.tiny_release import tiny_spec

pytestmark = pytest.mark.usefixtures("prefect_client", "empty_home")

LIMIT_S = 60.0
POOL = "nobody-works-here"


@pytest.fixture
def deployed(prefect_client: None) -> str:  # noqa: ARG001 - the server that it is deployed to
    """A pool with the benchmark's deployment, as `python -m deployments.worker` makes them."""
    deploy(POOL)
    return POOL


def test_its_runs_beat_and_are_tagged_as_all_of_ours_are(deployed: str) -> None:
    with get_client(sync_client=True) as client:
        made = client.read_deployment_by_name(f"benchmark/{deployed}")
        assert client.read_work_pool(deployed).type == "process"
    seconds = int(automations.HEARTBEAT.total_seconds())
    assert made.job_variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(seconds)
    assert automations.TAG in made.tags
    assert made.enforce_parameter_schema


def job_for(pool: str, tmp_path: Path, **options: Any) -> BenchmarkJob:
    """One job for a pool; its model is only looked at by whoever measures."""
    store = open_store(str(tmp_path / "home" / "store"))
    ref = store.put_bytes(b"a model", media_type="application/octet-stream")
    raw = {**tiny_spec(tmp_path), "benchmark": {"pools": {"cpu": pool}, **options}}
    (job,) = benchmark_jobs(ReleaseSpec.model_validate(raw), {"fp32": ref}, ref)
    return job


@flow(name="a release", persist_result=False)
def gather(job: BenchmarkJob) -> BenchmarkSuite:
    """What a release does with its jobs for pools."""
    (suite,) = pools.benchmark_on_pools([job])
    return suite


class Stagehand(threading.Thread):
    """Plays the worker: does one thing to each run of the pool that it has not seen before."""

    def __init__(self, *acts: Callable[[SyncPrefectClient, FlowRun], None]) -> None:
        # In this test's context: what talks to a server talks to this one.
        super().__init__(target=copy_context().run, args=[self._play], daemon=True)
        self.seen: list[UUID] = []
        self._acts = acts
        with get_client(sync_client=True) as client:
            self._before = {run.id for run in client.read_flow_runs()}

    def _play(self) -> None:
        """Until every act has been played."""
        deadline = time.monotonic() + LIMIT_S
        with get_client(sync_client=True) as client:
            while len(self.seen) < len(self._acts) and time.monotonic() < deadline:
                for found in client.read_flow_runs():
                    new = found.id not in {*self._before, *self.seen}
                    if new and found.work_pool_name == POOL and len(self.seen) < len(self._acts):
                        self._acts[len(self.seen)](client, found)
                        self.seen.append(found.id)
                time.sleep(0.2)


def becomes(state: State[Any]) -> Callable[[SyncPrefectClient, FlowRun], None]:
    """A run that ends, or begins, so."""

    def act(client: SyncPrefectClient, run: FlowRun) -> None:
        client.set_flow_run_state(run.id, state, force=True)

    return act


def reports(suite: BenchmarkSuite) -> Callable[[SyncPrefectClient, FlowRun], None]:
    """A run that hands over a report and is done."""
    ref = keep_suite(suite)

    def act(client: SyncPrefectClient, run: FlowRun) -> None:
        client.create_artifact(
            ArtifactCreate(type=REPORT_TYPE, flow_run_id=run.id, data=ref.model_dump_json())
        )
        client.set_flow_run_state(run.id, Completed(), force=True)

    return act


@pytest.fixture
def played() -> Iterator[Callable[..., Stagehand]]:
    """Start a stagehand; all have played to the end when the test is over."""
    started: list[Stagehand] = []

    def play(*acts: Callable[[SyncPrefectClient, FlowRun], None]) -> Stagehand:
        hand = Stagehand(*acts)
        hand.start()
        started.append(hand)
        return hand

    yield play
    for hand in started:
        hand.join()
        assert len(hand.seen) == len(hand._acts)


def test_a_pool_without_a_deployment_is_missing_and_says_how_to_make_it(tiny_files: Path) -> None:
    raw = changed(
        tiny_spec(tiny_files), precisions={}, benchmark={"pools": {"cpu": "no-such-pool"}}
    )
    raw["precisions"] = {}
    del raw["register"]
    ran = run(raw)
    (suite,) = ran.report.evidence.suites
    assert (suite.status, suite.rows, suite.conditions) == ("missing environment", (), None)
    assert suite.reason is not None
    assert "no deployment benchmark/no-such-pool" in suite.reason
    assert "python -m deployments.worker no-such-pool" in suite.reason
    assert ran.state.is_failed()
    assert "benchmark on cpu: missing environment" in str(ran.state.message)
    assert ran.report.evidence.selected == {}


def test_a_pool_without_a_worker_is_missing_after_the_time_that_the_spec_gives_it(
    deployed: str, tmp_path: Path
) -> None:
    suite = gather(job_for(deployed, tmp_path, pool_start_seconds=1))
    assert suite.status == "missing environment"
    assert f"no worker of pool {POOL} took the benchmark within 1 s" in str(suite.reason)


def test_a_run_that_gives_no_report_in_its_time_is_cancelled_and_crashed(
    deployed: str, tmp_path: Path, played: Callable[..., Stagehand]
) -> None:
    hand = played(becomes(Running()))
    suite = gather(job_for(deployed, tmp_path, pool_run_seconds=1))
    assert suite.status == "crashed"
    assert "gave no report within 1 s" in str(suite.reason)
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(hand.seen[0]).state
    assert state is not None
    assert state.is_cancelling()


def test_a_run_that_crashes_is_tried_once_more(
    deployed: str, tmp_path: Path, played: Callable[..., Stagehand]
) -> None:
    measured = BenchmarkSuite(provider="cpu")
    played(becomes(Crashed(message="exit code -9")), reports(measured))
    assert gather(job_for(deployed, tmp_path)) == measured


def test_a_run_that_crashes_each_time_is_a_crashed_row_with_every_reason(
    deployed: str, tmp_path: Path, played: Callable[..., Stagehand]
) -> None:
    played(becomes(Crashed(message="exit code -9")), becomes(Crashed(message="exit code -11")))
    suite = gather(job_for(deployed, tmp_path))
    assert suite.status == "crashed"
    assert suite.reason == "exit code -9; exit code -11; it was tried 2 times"


def test_a_run_that_fails_is_a_failed_row_and_not_tried_again(
    deployed: str, tmp_path: Path, played: Callable[..., Stagehand]
) -> None:
    played(becomes(Failed(message="fp32: output y holds NaN")))
    suite = gather(job_for(deployed, tmp_path))
    assert (suite.status, suite.reason) == ("failed", "fp32: output y holds NaN")


def test_a_report_that_this_store_does_not_have_is_a_failed_row_that_names_the_setting(
    deployed: str, tmp_path: Path, played: Callable[..., Stagehand]
) -> None:
    act = reports(BenchmarkSuite(provider="cpu", reason="kept elsewhere"))
    store = open_store(str(tmp_path / "home" / "store"))
    for digest in list(store.digests()):
        store.delete(digest)
    played(act)
    suite = gather(job_for(deployed, tmp_path))
    assert suite.status == "failed"
    assert "need the same SLIPWAY_STORE" in str(suite.reason)


def test_what_a_release_started_elsewhere_ends_when_it_is_cancelled(
    deployed: str, tmp_path: Path
) -> None:
    job = job_for(deployed, tmp_path)

    @flow(name="a release", persist_result=False)
    def cancelled_release() -> UUID:
        run_deployment(
            f"benchmark/{POOL}", parameters={"job": job.model_dump(mode="json")}, timeout=0
        )
        return UUID(prefect.runtime.flow_run.id)

    parent = cancelled_release()
    ours = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[parent]))
    with get_client(sync_client=True) as client:
        owner = client.read_flow_run(parent)
        assert owner.state is not None
        pools.cancel_benchmarks(gather, owner, owner.state)
        (child,) = client.read_flow_runs(flow_run_filter=ours)
    assert child.state is not None
    assert child.state.is_cancelled()


def test_two_benchmarks_on_one_device_wait_for_each_other() -> None:
    inside: list[int] = []

    @task
    def measure() -> int:
        with device_for_itself("benchmark-host-cpu"):
            inside.append(1)
            time.sleep(0.3)
            together = len(inside)
            inside.pop()
        return together

    @flow(name="three at once", persist_result=False)
    def three() -> list[int]:
        futures = [measure.submit() for _ in range(3)]
        return [future.result() for future in futures]

    assert three() == [1, 1, 1]
