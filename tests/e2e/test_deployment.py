"""The deployment as a user meets it: a server, a worker, the form's request, a registered version.

`deployments/serve.py` starts all of it, as `make serve` does; nothing of this process's Prefect is
used, only the server's API.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from slipway.promotion.log import read_log
from slipway.registries import open_registry
from slipway.stores import open_store
from tests.prefect_server import environment, free_port
from tests.tiny_release import tiny_spec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
START_LIMIT_S = 240.0
RUN_LIMIT_S = 180.0
BUSY_LIMIT_S = 60.0
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class Api:
    """A Prefect server's API over plain HTTP, as the UI uses it."""

    address: str
    home: Path

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer's JSON."""
        return self._answer(
            Request(  # noqa: S310 - our own http address
                f"{self.address}{path}",
                data=json.dumps(body).encode(),
                headers={"content-type": "application/json"},
            )
        )

    def get(self, path: str) -> Any:
        """The answer's JSON."""
        return self._answer(Request(f"{self.address}{path}"))  # noqa: S310 - as above

    def _answer(self, request: Request) -> Any:
        # A server on SQLite answers 503 while its database is locked, and wants to be asked again,
        # which Prefect's own clients do.
        deadline = time.monotonic() + BUSY_LIMIT_S
        while True:
            try:
                with urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
                    return json.load(answer)
            except HTTPError as error:
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def deployment(self, name: str = "release/release") -> dict[str, Any]:
        """A deployment by its flow's and its own name."""
        return dict(self.get(f"/deployments/name/{name}"))

    def submit(self, parameters: dict[str, Any], name: str = "release/release") -> dict[str, Any]:
        """What pressing Submit on the form does."""
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return dict(self.post(f"/deployments/{self.deployment(name)['id']}/create_flow_run", body))

    def ended(self, run_id: str, *, at: Collection[str] = FINAL) -> dict[str, Any]:
        """The run, when it has come to its end, or to another state."""
        deadline = time.monotonic() + RUN_LIMIT_S
        while True:
            run = self.get(f"/flow_runs/{run_id}")
            if run["state_type"] in {*FINAL, *at}:
                return dict(run)
            assert time.monotonic() < deadline, run["state"]
            time.sleep(0.5)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    home = tmp_path_factory.mktemp("e2e")
    port = free_port()
    env = environment(home / "prefect", "") | {
        "SLIPWAY_HOME": str(home / "slipway"),
        "PREFECT_SERVER_API_PORT": str(port),
    }
    del env["PREFECT_API_URL"], env["PREFECT_SERVER_UI_API_URL"]
    with (home / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.serve"],
            cwd=home,  # where it is started from must not matter
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while "Ctrl-C stops everything" not in (home / "serve.log").read_text():
            assert process.poll() is None, (home / "serve.log").read_text()
            assert time.monotonic() < deadline, (home / "serve.log").read_text()
            time.sleep(0.3)
        yield Api(f"http://127.0.0.1:{port}/api", home / "slipway")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(90)
    assert process.returncode == 0, (home / "serve.log").read_text()
    with pytest.raises(OSError, match="refused"):
        urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5)


def test_the_deployment_stands_on_the_checkout_and_checks_its_parameters(api: Api) -> None:
    found = api.deployment()
    (step,) = found["pull_steps"]
    assert step["prefect.deployments.steps.set_working_directory"] == {"directory": str(ROOT)}
    assert found["entrypoint"] == "flows.release.release"
    assert found["enforce_parameter_schema"] is True
    assert found["work_pool_name"] == "slipway"
    snapshot = (ROOT / "tests/flows/release_form.json").read_text(encoding="utf-8")
    assert found["parameter_openapi_schema"] == json.loads(snapshot)


def test_a_form_that_was_filled_in_becomes_a_registered_version(api: Api, tiny_files: Path) -> None:
    run = api.ended(api.submit({"spec": tiny_spec(tiny_files)})["id"])
    assert run["state_type"] == "COMPLETED", run["state"]
    assert run["name"] == "release tiny"
    registry = open_registry(f"sqlite:///{api.home}/mlflow.db")
    version = registry.resolve("tiny", "challenger")
    assert version.version == 1
    bundle = api.home / "bundles" / version.bundle_digest.replace(":", "/")
    assert (bundle / "manifest.json").is_file()


def test_a_promotion_waits_without_a_process_and_goes_on_with_the_answer(api: Api) -> None:
    request = {
        "name": "tiny",
        "version": 1,
        "by": "anna",
        "policy": {"not_slower": False, "approvals": 1},
        "to": {"name": "prod.tiny"},
    }
    snapshot = (ROOT / "tests/flows/promote_form.json").read_text(encoding="utf-8")
    assert api.deployment("promote/promote")["parameter_openapi_schema"] == json.loads(snapshot)
    run_id = api.submit({"request": request}, "promote/promote")["id"]
    waiting = api.ended(run_id, at=["PAUSED"])
    assert waiting["state"]["name"] == "Suspended", waiting["state"]
    keys = waiting["state"]["state_details"]["run_input_keyset"]
    form = api.get(f"/flow_runs/{run_id}/input/{keys['schema']}")
    assert form["required"] == ["by"]
    assert all(field["description"] for field in form["properties"].values())
    text = api.get(f"/flow_runs/{run_id}/input/{keys['description']}")
    assert "Point champion of prod.tiny at a copy?" in text
    assert "asked by anna" in text

    registry = open_registry(f"sqlite:///{api.home}/mlflow.db")
    assert registry.versions("prod.tiny") == ()
    refused = api.post(f"/flow_runs/{run_id}/resume", {"run_input": {"approve": True}})
    assert refused["status"] == "REJECT"
    assert "'by' is a required property" in refused["details"]["reason"]
    answer = {"approve": True, "by": "boris", "comment": "seen"}
    assert api.post(f"/flow_runs/{run_id}/resume", {"run_input": answer})["status"] == "ACCEPT"
    run = api.ended(run_id)
    assert run["state_type"] == "COMPLETED", run["state"]
    states = [state["name"] for state in api.get(f"/flow_run_states/?flow_run_id={run_id}")]
    assert states.count("Pending") == 2, states  # a worker took it up twice
    assert registry.aliases("prod.tiny") == {"champion": 1}
    (record,) = read_log(open_store(str(api.home / "store")), "prod.tiny", "champion")
    assert (record.by, record.approved_by) == ("anna", ("boris",))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": None}, "None is not of type 'object'"),
        ({"source": {"framework": "pytorhc", "uri": "x"}}, "'pytorhc' is not one of"),
        ({"presicions": {}}, "'presicions' was unexpected"),
        ({"opset": "eighteen"}, "'eighteen' is not of type 'integer'"),
        ({"benchmark": {"queries": 1}}, "1 is less than the minimum of 20"),
        ({"name": "../x"}, "does not match"),
    ],
)
def test_a_form_with_a_mistake_is_refused_with_its_place_and_reason(
    api: Api, tiny_files: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(HTTPError) as refused:
        api.submit({"spec": {**tiny_spec(tiny_files), **change}})
    assert refused.value.code == 409
    detail = json.load(refused.value)["detail"]
    assert reason in detail
    assert "spec" in detail


def test_what_only_the_rules_of_a_spec_forbid_fails_the_run_with_the_rule(
    api: Api, tiny_files: Path
) -> None:
    spec = {**tiny_spec(tiny_files), "data": {}, "precisions": {}}
    run = api.ended(api.submit({"spec": spec})["id"])
    assert run["state_type"] == "FAILED"
    assert "metric: rmse needs data.evaluation" in run["state"]["message"]


def test_a_release_that_fails_says_why_on_its_page(api: Api, tiny_files: Path) -> None:
    spec = tiny_spec(tiny_files)
    spec["budget"] = {"metric_drop": 0.001}  # no INT8 is that near, whatever is kept in float
    spec["precisions"]["int8-static"]["required"] = True
    run = api.ended(api.submit({"spec": spec})["id"])
    assert run["state_type"] == "FAILED"
    assert "required variant int8-static failed" in run["state"]["message"]
    logs = api.post("/logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
    assert logs
    assert not [log["message"] for log in logs if "TypeError" in log["message"]]


def test_nothing_that_a_run_leaves_is_a_pickle(api: Api) -> None:
    kept = [path for path in (api.home.parent / "prefect/storage").glob("*") if path.is_file()]
    assert kept, "the run with refused parameters leaves the refusal"
    for path in [*kept, *(api.home / "results").iterdir()]:
        json.loads(path.read_bytes())
        assert b"pickle" not in path.read_bytes()


def test_a_schedule_makes_runs(api: Api, tmp_path: Path) -> None:
    # The server's scheduler can fail in silence when its database library does not fit.
    (tmp_path / "tick.py").write_text(
        "from prefect import flow\n\n\n@flow\ndef tick() -> None:\n    'Nothing.'\n",
        encoding="utf-8",
    )
    deployment = {
        "name": "tick",
        "entrypoint": "tick.py:tick",
        "work_pool": {"name": "slipway"},
        "schedules": [{"interval": 5, "slug": "often"}],
    }
    (tmp_path / "prefect.yaml").write_text(
        yaml.safe_dump({"name": "tick", "deployments": [deployment]}), encoding="utf-8"
    )
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        cwd=tmp_path,
        env={**os.environ, "PREFECT_API_URL": api.address, "PREFECT_HOME": str(tmp_path / "home")},
        check=True,
        capture_output=True,
        timeout=120,
    )
    ours = {"deployments": {"id": {"any_": [api.deployment("tick/tick")["id"]]}}}
    deadline = time.monotonic() + RUN_LIMIT_S
    while not any(run["state_type"] == "COMPLETED" for run in api.post("/flow_runs/filter", ours)):
        assert time.monotonic() < deadline, api.post("/flow_runs/filter", ours)
        time.sleep(1)


def test_a_second_server_on_the_same_port_is_refused_with_the_way_out(
    api: Api, tmp_path: Path
) -> None:
    port = api.address.removesuffix("/api").rpartition(":")[2]
    env = environment(tmp_path / "prefect", "") | {"PREFECT_SERVER_API_PORT": port}
    del env["PREFECT_API_URL"]
    ran = subprocess.run(
        [sys.executable, "-m", "deployments.serve"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert f"set PREFECT_API_URL={api.address} to use it" in ran.stderr
