"""Two workers on one machine, each with its own onnxruntime, and a release that uses both."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
)
from prefect.client.schemas.objects import FlowRun

from slipway.artifacts import ArtifactRef
from slipway.protocols import BenchmarkJob
from slipway.reports import BenchmarkSuite, ReleaseReport
from slipway.stages.measuring import device_name, fetch_suite
from tasks import pools
from tests import tiny_models, worker_environment
from tests.flows.running import Ran, run
from tests.prefect_server import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("prefect_client"),
]

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0
SILENT_S = 20.0
POOLS = {"cpu": "slipway-cpu", "openvino": "slipway-openvino"}


@dataclass
class Worker:
    """One worker as its machine's owner starts it: `python -m deployments.worker POOL`."""

    python: Path
    pool: str
    env: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        """Start it; it makes its pool and deployment."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(self.python), "-m", "deployments.worker", self.pool],
                cwd=self.log.parent,  # where it is started from must not matter
                env=self.env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Until it looks for work."""
        deadline = time.monotonic() + LIMIT_S
        while "started!" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def measuring(self) -> list[psutil.Process]:
        """All processes of a benchmark that is being taken: none until its children are at work."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return below if any("slipway.isolation" in " ".join(_words(one)) for one in below) else []

    def die(self) -> None:
        """As a machine does: worker, run and measurement at once, without a word to anybody."""
        everything = [psutil.Process(self.process.pid)]
        everything += everything[0].children(recursive=True)
        for one in everything:
            one.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def openvino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with onnxruntime-openvino."""
    return worker_environment.make(tmp_path_factory.mktemp("openvino") / "venv", "openvino")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of releases and workers."""
    return tmp_path_factory.mktemp("shared") / "store"


@pytest.fixture(scope="module")
def workers(
    prefect_api: str, openvino: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Worker]]:
    """Both, ready for work; each with a home of its own."""
    found = {}
    for provider, python in {"cpu": Path(sys.executable), "openvino": openvino}.items():
        home = tmp_path_factory.mktemp(f"worker-{provider}")
        env = environment(home / "prefect", prefect_api) | {
            "SLIPWAY_HOME": str(home / "slipway"),
            "SLIPWAY_STORE": str(shared),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "5",
        }
        found[provider] = Worker(python, POOLS[provider], env, home / "worker.log")
        found[provider].start()
    try:
        for worker in found.values():
            worker.wait()
        yield found
    finally:
        for worker in found.values():
            if worker.process.poll() is None:
                worker.die()


@pytest.fixture
def spec(
    tiny: dict[str, Any], shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A release of one variant that both workers measure."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_STORE", str(shared))
    del tiny["register"]
    return {
        **tiny,
        "precisions": {},
        "benchmark": {"queries": 40, "providers": list(POOLS), "pools": POOLS},
    }


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def children_of(ran: Ran) -> list[FlowRun]:
    """The runs that a release started on other pools."""
    ours = FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[ran.flow_run_id]))
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=ours)


def suites_of(ran: Ran) -> dict[str, BenchmarkSuite]:
    """What was measured, by provider."""
    return {suite.provider: suite for suite in ran.report.evidence.suites}


def test_the_openvino_worker_needs_no_framework_and_no_other_onnxruntime(openvino: Path) -> None:
    look = """
import json, sys
from importlib.metadata import distributions
import flows.benchmark, slipway.stages.measuring, slipway.benchmarking.harness
print(json.dumps([sorted(d.name.lower() for d in distributions()), sorted(sys.modules)]))
"""
    ran = subprocess.run(
        [str(openvino), "-c", look], capture_output=True, text=True, check=True, timeout=120
    )
    installed, imported = json.loads(ran.stdout)
    assert "onnxruntime-openvino" in installed
    frameworks = {"torch", "tensorflow", "keras", "scikit-learn", "xgboost", "transformers"}
    assert not {*frameworks, "onnxruntime", "mlflow"} & set(installed)
    assert not {"torch", "onnxruntime", "mlflow", "boto3"} & set(imported)


def test_every_openvino_option_is_one_that_the_worker_s_runtime_takes(
    openvino: Path, tmp_path: Path
) -> None:
    path = tiny_models.save(tiny_models.mlp(), tmp_path)
    look = f"""
from pathlib import Path
from slipway.providers import PROVIDERS
from slipway.providers.provider import Asked
from slipway.providers.sessions import RECORD_ASSIGNMENT, Session

given = dict(
    device_type=("CPU", "AUTO:CPU", "HETERO:CPU"), precision=("FP32", "ACCURACY"),
    num_of_threads=(1, 2), num_streams=(1, 8), cache_dir=("{tmp_path / "cache"}",),
    load_config=('{{"CPU": {{"INFERENCE_NUM_THREADS": "1"}}}}',),
    model_priority=("LOW", "HIGH"), enable_opencl_throttling=(True, False),
    enable_qdq_optimizer=(True, False), disable_dynamic_shapes=(False, "true"),
    reshape_input=("x[2,16]",), layout=("x[NC]",),
)
openvino = PROVIDERS["openvino"]
assert set(given) == set(openvino.known_options), set(given) ^ set(openvino.known_options)
for name, values in given.items():
    for value in values:
        asked = Asked(precision="fp32", threads=1, cache=Path("{tmp_path}"))
        session = Session(
            Path("{path}"), provider="openvino",
            provider_options=openvino.settle(asked, {{name: value}}), entries=RECORD_ASSIGNMENT,
        )
        assert session._session.get_providers()[0] == openvino.ort_name, (name, value)
"""
    ran = subprocess.run(
        [str(openvino), "-c", look], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr


def test_each_provider_is_measured_by_its_own_worker_and_only_references_travel(
    workers: dict[str, Worker], spec: dict[str, Any]
) -> None:
    ran = run(spec)
    found = suites_of(ran)
    assert {provider: suite.status for provider, suite in found.items()} == dict.fromkeys(
        POOLS, "measured"
    ), {provider: worker.log.read_text() for provider, worker in workers.items()}
    assert ran.report.passed
    assert set(ran.report.evidence.selected) == set(POOLS)

    runtimes = {name: suite.conditions.devices for name, suite in found.items() if suite.conditions}
    assert set(runtimes["cpu"]) == {"onnxruntime"}
    assert set(runtimes["openvino"]) == {"onnxruntime-openvino"}
    for provider, suite in found.items():
        assert {row.provider for row in suite.rows} == {provider}
        assert [placed.share for placed in suite.placements] == [1.0]

    runs = {run.parameters["job"]["provider"]: run for run in children_of(ran)}
    assert set(runs) == set(POOLS)
    for provider, child in runs.items():
        job = BenchmarkJob.model_validate(child.parameters["job"])
        assert len(json.dumps(child.parameters)) < 5000
        refs = [
            artifact for artifact in artifacts_of(child) if artifact["type"] == "slipway-report"
        ]
        (ref,) = (ArtifactRef.model_validate_json(str(artifact["data"])) for artifact in refs)
        assert fetch_suite(ref) == found[provider]
        limit = limit_of(device_name(job))
        assert (limit.limit, limit.active_slots) == (1, 0)
    # On one machine both keep the same processor busy, so they take the same limit.
    jobs = [BenchmarkJob.model_validate(run.parameters["job"]) for run in runs.values()]
    assert len({device_name(job) for job in jobs}) == 1

    tables = {a["key"] for child in runs.values() for a in artifacts_of(child)}
    assert {"benchmark-tiny-cpu", "benchmark-tiny-openvino"} <= tables


def test_a_machine_that_dies_in_mid_benchmark_leaves_a_crashed_row_and_the_release_ends(
    workers: dict[str, Worker], spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "LEAST_SILENCE_S", SILENT_S)
    spec["benchmark"] |= {
        "queries": 10_000_000,
        "max_seconds": 120,  # it is killed long before
        "providers": ["openvino"],
        "pools": {"openvino": POOLS["openvino"]},
        "pool_start_seconds": 60,  # a busy server on SQLite hands out no work for as long
    }
    gone = workers["openvino"]
    killed = threading.Event()

    def kill() -> None:
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline and not killed.is_set():
            if gone.measuring():
                gone.die()
                killed.set()
            time.sleep(0.1)

    reaper = threading.Thread(target=kill, daemon=True)
    reaper.start()
    ran = run(spec)
    reaper.join()

    assert killed.is_set(), gone.log.read_text()
    assert isinstance(ran.found, ReleaseReport)
    assert ran.state.is_failed()
    (suite,) = ran.report.evidence.suites
    assert (suite.provider, suite.status, suite.rows) == ("openvino", "crashed", ())
    assert suite.reason is not None
    assert "gave no sign of life for" in suite.reason
    assert "no worker of pool slipway-openvino took the benchmark within 60 s" in suite.reason
    assert f"benchmark on openvino: crashed: {suite.reason}" in ran.report.evidence.failures
    assert "crashed" in Path(ran.report.report).read_text(encoding="utf-8")
    # Nothing is left running or waiting on the server.
    states = [run.state_type.value for run in children_of(ran) if run.state_type]
    assert sorted(states) == ["CANCELLED", "CRASHED"]


def artifacts_of(child: FlowRun) -> list[dict[str, Any]]:
    """What a run left, as the server tells it."""
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[child.id]))
    with get_client(sync_client=True) as client:
        return [found.model_dump() for found in client.read_artifacts(artifact_filter=wanted)]


def limit_of(name: str) -> Any:
    """A global concurrency limit."""
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(name)
