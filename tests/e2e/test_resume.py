"""What is killed with a release under way: the run, its whole machine, the server. Real processes.

However it ends, the same run goes on when it is retried, and what was done is not done again.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest
from prefect.client.orchestration import get_client
from prometheus_client.parser import text_string_to_metric_families

from deployments.automations import crash_silent_runs
from infra.topology.http import answers, ask
from slipway.registries import open_registry
from tests.prefect_server import client_of, environment, free_port
from tests.tiny_release import tiny_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
LIMIT_S = 240.0
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
SILENCE = timedelta(seconds=45)
"""More than one heartbeat of 30 seconds, which is the shortest that Prefect knows."""
PATIENT = """
import sys, time
from prefect import flow, tags

@flow
def patient() -> None:
    time.sleep(float(sys.argv[1]))

with tags("slipway"):
    patient()
"""


@dataclass
class Server:
    """A Prefect server that can be killed, and started again where it was."""

    home: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        self.process = begin(
            ("-m", "prefect", "server", "start", "--port", str(self.port)),
            environment(self.home, self.api) | {"PREFECT_SERVER_METRICS_ENABLED": "true"},
            self.home / "server.log",
        )
        until(lambda: answers(f"{self.api}/health"), self.home / "server.log")

    def ask(self, path: str, body: object = None) -> Any:
        return ask(f"{self.api}{path}", login="", body=body)

    def release(self, spec: dict[str, Any]) -> str:
        """Start one, as the form does; gives the run's id."""
        deployment = self.ask("/deployments/name/release/release")["id"]
        body = {"parameters": {"spec": spec}, "state": {"type": "SCHEDULED"}}
        return str(self.ask(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.ask(f"/flow_runs/{run}")["state"])

    def ended(self, run: str) -> dict[str, Any]:
        """The run's last state."""
        return dict(until(lambda: self._final(run), self.home / "server.log"))

    def _final(self, run: str) -> dict[str, Any] | None:
        state = self.state(run)
        return state if state["type"] in FINAL else None

    def retry(self, run: str) -> None:
        """As `prefect flow-run retry` does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        self.ask(f"/flow_runs/{run}/set_state", {"state": state, "force": True})


def begin(arguments: tuple[str, ...], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start this interpreter in the background."""
    with log.open("ab") as messages:
        return subprocess.Popen(
            [sys.executable, *arguments], env=env, stdout=messages, stderr=subprocess.STDOUT
        )


def until(condition: Callable[[], Any], log: Path) -> Any:
    """What is found as soon as there is something."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, log.read_text()[-5000:]
        time.sleep(0.1)
    return found


def kill(process: psutil.Process) -> None:
    """A process and all that it has started, at once, as a machine dies."""
    everything = [process, *process.children(recursive=True)]
    for one in everything:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(everything, timeout=30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("resume"))
    made.start()
    try:
        subprocess.run(
            [sys.executable, "-m", "deployments"],
            cwd=ROOT,
            env=environment(made.home, made.api),
            check=True,
            capture_output=True,
            timeout=LIMIT_S,
        )
        nightly = made.ask("/deployments/name/regression/nightly")["id"]
        made.ask(f"/deployments/{nightly}/pause_deployment", {})  # at two o'clock it would run, too
        yield made
    finally:
        kill(psutil.Process(made.process.pid))
        made.process.wait()


@dataclass(frozen=True)
class Worker:
    """A worker's machine: its process, and its home with what releases have done."""

    process: psutil.Process
    home: Path
    log: Path

    def run(self) -> psutil.Process | None:
        """The process of the run that it has started."""
        children = self.process.children()
        return children[0] if children else None

    def has_done_with_the_dead(self) -> bool:
        """Whether it has looked twice after each run that was killed.

        It looks again some seconds later, and would end one that was retried meanwhile.
        """
        log = self.log.read_text()
        first, second = (
            log.count(f"{who} - Check whether the flow run")
            for who in ("prefect.runner.flow_run_executor", "prefect.flow_runs.worker")
        )
        return first == second > 0

    def records(self) -> dict[Path, tuple[int, int]]:
        """Results of stages that are done, and which file each is: one made anew is another."""
        found = {path: path.stat() for path in (self.home / "results").glob("sha256-*")}
        return {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


@contextmanager
def working(server: Server, home: Path, **settings: str) -> Iterator[Worker]:
    """A worker until the end of the block."""
    log = home.parent / "worker.log"
    env = environment(server.home, server.api) | {"SLIPWAY_HOME": str(home)} | settings
    command = ("-m", "prefect", "worker", "start", "--pool", "slipway")
    process = begin(command, env, log)
    try:
        yield Worker(psutil.Process(process.pid), home, log)
    finally:
        if process.poll() is None:
            kill(psutil.Process(process.pid))
        process.wait()


def when(done: Callable[[Worker], bool], worker: Worker) -> psutil.Process:
    """The run's process, as soon as it has come so far."""
    until(lambda: done(worker), worker.log)
    run = worker.run()
    assert run is not None, worker.log.read_text()
    return run


def exporting(worker: Worker) -> bool:
    return any((worker.home / "store/sha256").glob("*/*")) and worker.run() is not None


def converting(worker: Worker) -> bool:
    return len(worker.records()) >= 4 and worker.run() is not None


def unpacking(worker: Worker) -> bool:
    return (worker.home / "bundles").exists() and worker.run() is not None


def test_a_run_that_is_killed_again_and_again_goes_on_where_it_was(
    server: Server, tiny_files: Path, tmp_path: Path
) -> None:
    with working(server, tmp_path / "home") as worker:
        run = server.release(tiny_spec(tiny_files))
        kept: dict[Path, tuple[int, int]] = {}
        for stage in (exporting, converting, unpacking):
            process = when(stage, worker)
            children = process.children(recursive=True)
            process.send_signal(signal.SIGKILL)
            assert server.ended(run)["type"] == "CRASHED"
            until(worker.has_done_with_the_dead, worker.log)
            _, alive = psutil.wait_procs(children, timeout=30)
            assert alive == [], "an isolated child outlived its run"
            now = worker.records()
            assert kept.items() <= now.items(), "what was done has been done again"
            kept = now
            server.retry(run)
        assert len(kept) >= 10
        assert server.ended(run)["type"] == "COMPLETED", worker.log.read_text()[-5000:]
        assert kept.items() <= worker.records().items()
        assert server.ask(f"/flow_runs/{run}")["run_count"] == 4
        versions = open_registry(f"sqlite:///{worker.home}/mlflow.db").versions("tiny")
        assert [version.version for version in versions] == [1]


@pytest.fixture
def impatient(server: Server) -> Iterator[None]:
    """The rule that ends silent runs, with less patience than `deployments` give it."""
    rule = crash_silent_runs(SILENCE).model_copy(update={"name": "quick"})
    with client_of(server.api, server.home), get_client(sync_client=True) as client:
        made = client.create_automation(rule)
        yield
        client.delete_automation(made)


@pytest.mark.usefixtures("impatient")
def test_a_run_whose_machine_dies_is_found_out_and_goes_on_and_one_that_lives_is_left_alone(
    server: Server, tiny_files: Path, tmp_path: Path
) -> None:
    (tmp_path / "patient.py").write_text(PATIENT, encoding="utf-8")
    beats = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    patient = begin(
        (str(tmp_path / "patient.py"), str(SILENCE.total_seconds() * 2)),
        environment(server.home, server.api) | beats,
        tmp_path / "patient.log",
    )
    with working(server, tmp_path / "home") as worker:
        run = server.release(tiny_spec(tiny_files))
        when(converting, worker)
        kill(worker.process)
        kept = worker.records()
    with working(server, tmp_path / "home") as worker:
        assert server.state(run)["type"] == "RUNNING", "nobody has noticed"
        ended = server.ended(run)
        assert (ended["type"], "No sign of life" in ended["message"]) == ("CRASHED", True)
        server.retry(run)
        assert server.ended(run)["type"] == "COMPLETED", worker.log.read_text()[-5000:]
        assert kept.items() <= worker.records().items()
    assert patient.wait(LIMIT_S) == 0, (tmp_path / "patient.log").read_text()
    named = {"flows": {"name": {"any_": ["patient"]}}}
    (lived,) = server.ask("/flow_runs/filter", named)
    states = server.ask(f"/flow_run_states/?flow_run_id={lived['id']}")
    assert {state["type"] for state in states} <= {"SCHEDULED", "PENDING", "RUNNING", "COMPLETED"}
    assert lived["state_type"] == "COMPLETED"


def test_a_server_that_dies_and_comes_back_costs_no_run(
    server: Server, tiny_files: Path, tmp_path: Path
) -> None:
    with working(server, tmp_path / "home") as worker:
        run = server.release(tiny_spec(tiny_files))
        when(converting, worker)
        kept = worker.records()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        time.sleep(2)
        server.start()
        assert server.ended(run)["type"] == "COMPLETED", worker.log.read_text()[-5000:]
        assert kept.items() <= worker.records().items()


def queried(dashboard: Path) -> set[str]:
    """The metrics that a dashboard's panels ask Prometheus for."""
    panels = json.loads(dashboard.read_text(encoding="utf-8"))["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    words = re.findall(r"[a-z_]+", re.sub(r"\{[^}]*\}|\[[^]]*\]|by \([^)]*\)", " ", asked))
    return set(words) - {"rate", "sum", "time", "up"}


def scraped(address: str) -> dict[str, float]:
    """What Prometheus reads there, by metric."""
    with urlopen(address, timeout=30) as answer:  # noqa: S310 - our own http address
        families = text_string_to_metric_families(answer.read().decode())
    return {one.name: one.value for family in families for one in family.samples}


def test_every_metric_of_the_dashboard_is_told_by_a_server_or_a_worker(
    server: Server, tiny_files: Path, tmp_path: Path
) -> None:
    port = free_port()
    metrics = {"PREFECT_CLIENT_METRICS_ENABLED": "true", "PREFECT_CLIENT_METRICS_PORT": str(port)}
    spec = {**tiny_spec(tiny_files), "precisions": {}, "benchmark": {"providers": []}}
    with working(server, tmp_path / "home", **metrics) as worker:
        # Its runs are told of the setting, too, and may not want the port that it has.
        assert server.ended(server.release(spec))["type"] == "COMPLETED", worker.log.read_text()
        told = [scraped(f"{server.api}/metrics"), scraped(f"http://127.0.0.1:{port}/metrics")]
    asked = queried(ROOT / "infra/observability/grafana.json")
    assert len(asked) >= 5
    assert asked <= set(told[0]) | set(told[1])
    assert all(one["process_cpu_seconds_total"] > 0 for one in told)
