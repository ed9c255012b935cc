"""`python -m deployments` on a real server: twice changes nothing, and the automations work."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import kubernetes_validate
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.settings.models.flows import FlowsSettings
from prefect.states import Completed, Running, Suspended
from prefect.utilities.templating import apply_values

from deployments import automations, pools
from deployments.changes import settle
from tasks.pages import REGRESSED
from tests.prefect_server import environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
OF_EACH_LOOK = {"updated", "last_polled", "status", "start_time"}


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[Any]]]:
    """A receiver of notifications: its address, and what it was told."""
    heard: list[Any] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/secret-path", heard
        server.shutdown()
        thread.join()


def deploy(api: str, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    return subprocess.run(
        [sys.executable, "-m", "deployments"],
        cwd=home,  # where it is started from must not matter
        env=environment(home, api) | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def deployed(prefect_api: str, prefect_home: Path, told: tuple[str, list[Any]]) -> str:
    """The server's address after the command ran once, and what it said."""
    ran = deploy(prefect_api, prefect_home, SLIPWAY_NOTIFY_URL=told[0])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def client(deployed: str, prefect_client: None) -> Iterator[SyncPrefectClient]:  # noqa: ARG001
    """A client of the server that the command has been at."""
    with get_client(sync_client=True) as opened:
        yield opened


def lasting(value: Any) -> Any:
    """JSON without what changes by itself."""
    if isinstance(value, dict):
        return {k: lasting(v) for k, v in value.items() if k not in OF_EACH_LOOK}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def everything(client: SyncPrefectClient) -> dict[str, Any]:
    """All that the command may have put on the server, ids and schedules included."""
    ours = pools.POOLS[0].name
    queues = client.request(
        "POST",
        "/work_pools/{work_pool_name}/queues/filter",
        path_params={"work_pool_name": ours},
        json={},
    ).json()
    named = sorted(client.read_automations(), key=lambda one: one.name)
    found = {
        "pool": client.read_work_pool(ours).model_dump(mode="json"),
        "queues": queues,
        "deployments": [
            one.model_dump(mode="json")
            for one in sorted(client.read_deployments(), key=lambda one: one.name)
            if automations.TAG in one.tags
        ],
        "automations": [one.model_dump(mode="json") for one in named],
    }
    return {name: lasting(value) for name, value in found.items()}


def until(condition: Callable[[], Any]) -> Any:
    """What is found as soon as there is something."""
    deadline = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def test_a_second_time_changes_nothing_on_the_server(
    client: SyncPrefectClient,
    deployed: str,
    prefect_api: str,
    prefect_home: Path,
    told: tuple[str, list[Any]],
) -> None:
    before = everything(client)
    again = deploy(prefect_api, prefect_home, SLIPWAY_NOTIFY_URL=told[0])
    assert again.returncode == 0, again.stderr
    lines = again.stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"unchanged"}, again.stdout
    assert len(lines) == len(deployed.splitlines())
    assert everything(client) == before
    assert told[0] not in deployed + again.stdout + again.stderr


def test_every_deployment_of_the_file_is_on_the_server(client: SyncPrefectClient) -> None:
    flows = {flow.id: flow.name for flow in client.read_flows()}
    there = {f"{flows[one.flow_id]}/{one.name}" for one in client.read_deployments()}
    listed = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
    for one in listed:
        assert f"{one['entrypoint'].rpartition('.')[2]}/{one['name']}" in there


def test_the_nightly_schedule_makes_runs(client: SyncPrefectClient) -> None:
    wanted = {
        "deployments": {"name": {"any_": ["nightly"]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    runs = until(lambda: client.request("POST", "/flow_runs/filter", json=wanted).json())
    assert all(run["auto_scheduled"] for run in runs)


def test_what_was_changed_by_hand_is_put_right(client: SyncPrefectClient) -> None:
    place = {"work_pool_name": "slipway", "name": "night"}
    client.request(
        "PATCH",
        "/work_pools/{work_pool_name}/queues/{name}",
        path_params=place,
        json={"priority": 7},
    )
    assert pools.apply(client, "process")["queue slipway/night"] == "changed"
    assert set(pools.apply(client, "process").values()) == {"unchanged"}


def test_a_pool_of_another_kind_is_not_overwritten(client: SyncPrefectClient) -> None:
    with pytest.raises(ValueError, match="is there and of type process, not kubernetes"):
        pools.apply(client, "kubernetes")


def test_a_notification_address_that_is_none_is_refused_and_not_printed(
    prefect_api: str, prefect_home: Path
) -> None:
    ran = deploy(prefect_api, prefect_home, SLIPWAY_NOTIFY_URL="hooks.example/token-in-here")
    assert ran.returncode == 1
    assert "SLIPWAY_NOTIFY_URL holds no address" in ran.stderr
    assert "token-in-here" not in ran.stdout + ran.stderr


def test_without_a_server_the_command_says_what_to_set(tmp_path: Path) -> None:
    ran = deploy("", tmp_path)
    assert ran.returncode == 2
    assert "PREFECT_API_URL" in ran.stdout


@pytest.mark.usefixtures("client")
def test_a_failed_regression_is_told(told: tuple[str, list[Any]]) -> None:
    model = f"digits-{uuid4()}"
    # What must arrive whole: a quote and a brace would end the JSON of a template without care.
    payload = {
        "model": model,
        "version": 3,
        "regressions": ['"int8" } lost 2 points', "4 % slower"],
        "cause": "onnxruntime 1.31.1 -> 1.32.0",
    }
    emit_event(
        REGRESSED, resource={"prefect.resource.id": f"slipway.model.{model}"}, payload=payload
    )
    text = (
        f'Regressed: {model} 3: "int8" }} lost 2 points; 4 % slower (onnxruntime 1.31.1 -> 1.32.0)'
    )
    until(lambda: {"text": text} in told[1])


def flow_run(client: SyncPrefectClient, state: Any) -> UUID:
    """A run of ours in a state, as a worker that is no more has left it."""
    flow = client.create_flow_from_name("silent")
    body = {"flow_id": str(flow), "tags": ["slipway"], "name": f"silent {uuid4()}"}
    run = UUID(client.request("POST", "/flow_runs/", json=body).json()["id"])
    client.set_flow_run_state(run, state, force=True)
    return run


def beat(run: UUID) -> None:
    """The heartbeat that Prefect's engine sends for a run."""
    tag = {"prefect.resource.id": "prefect.tag.slipway", "prefect.resource.role": "tag"}
    emit_event(
        "prefect.flow-run.heartbeat",
        resource={"prefect.resource.id": f"prefect.flow-run.{run}"},
        related=[tag],
    )


def test_a_silent_run_is_ended_and_one_that_lives_waits_or_is_done_never(
    client: SyncPrefectClient,
) -> None:
    # Longer than a busy server keeps one waiting: the one that lives must be heard in time.
    silence_s = 25
    quick = automations.crash_silent_runs(timedelta(seconds=silence_s))
    made = client.create_automation(quick.model_copy(update={"name": f"quick {uuid4()}"}))
    try:
        silent, alive = flow_run(client, Running()), flow_run(client, Running())
        waiting, done = flow_run(client, Running()), flow_run(client, Running())
        for run in (silent, alive, waiting, done):
            beat(run)
        client.set_flow_run_state(waiting, Suspended(timeout_seconds=3600), force=True)
        client.set_flow_run_state(done, Completed(), force=True)
        beat(done)  # one that was on its way when the run ended

        def state(run: UUID) -> StateType | None:
            return client.read_flow_run(run).state_type

        def ended() -> bool:
            beat(alive)
            return state(silent) is StateType.CRASHED

        until(ended)
        until_s = time.monotonic() + silence_s + 5
        while time.monotonic() < until_s:
            beat(alive)
            assert state(alive) is StateType.RUNNING
            time.sleep(1)
        assert state(waiting) is StateType.PAUSED
        assert state(done) is StateType.COMPLETED
        assert "No sign of life" in str(client.read_flow_run(silent).state)
    finally:
        client.delete_automation(made)


def test_every_run_of_ours_sends_the_heartbeat_that_the_rule_waits_for() -> None:
    listed = yaml.safe_load((ROOT / "deployments/prefect.yaml").read_text())["deployments"]
    seconds = int(automations.HEARTBEAT.total_seconds())
    for one in listed:
        assert automations.TAG in one["tags"], one["name"]
        variables = one["work_pool"]["job_variables"]
        assert variables["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == str(seconds), one["name"]
    # A run that something else has deployed beats as Prefect does by itself.
    by_default = FlowsSettings.model_fields["heartbeat_frequency"].default
    slowest = timedelta(seconds=max(seconds, by_default))
    assert slowest * 3 <= automations.SILENCE


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_the_server_takes_the_job_template(client: SyncPrefectClient, kind: str) -> None:
    template = json.loads((pools.TEMPLATES / f"{kind}.json").read_text())
    name = f"template {kind} {uuid4()}"
    client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    assert client.read_work_pool(name).base_job_template == template


@pytest.mark.parametrize("gpus", [0, 2])
def test_the_kubernetes_template_makes_a_job_that_kubernetes_takes(gpus: int) -> None:
    template = json.loads((pools.TEMPLATES / "kubernetes.json").read_text())
    properties = template["variables"]["properties"]
    values = {name: spec["default"] for name, spec in properties.items() if "default" in spec}
    values |= {"gpu_count": gpus, "node_selector": {"gpu": "h200"}, "name": "release", "labels": {}}
    values |= {"env": [{"name": "A", "value": "b"}], "command": ["prefect", "flow-run", "execute"]}
    manifest = apply_values(template["job_configuration"], values | {"annotations": {}})
    job = manifest["job_manifest"]
    kubernetes_validate.validate(job, "1.34", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == gpus
    assert pod["nodeSelector"] == {"gpu": "h200"}
    assert pod["securityContext"]["runAsNonRoot"]


def test_settle_makes_what_is_missing_and_leaves_the_rest_of_what_is_there() -> None:
    done: list[str] = []

    def settled(found: dict[str, int] | None) -> str:
        return settle(
            {"a": 1}, found, make=lambda: done.append("made"), change=lambda: done.append("changed")
        )

    assert settled({"a": 1, "b": 2}) == "unchanged"
    assert done == []
    assert settled(None) == "made"
    assert settled({"a": 2, "b": 2}) == "changed"
    assert done == ["made", "changed"]
    assert os.environ.get("SLIPWAY_NOTIFY_URL") is None
