"""`make up` and `make down` as an operator meets them, with every part that is installed here."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import mlflow
import pytest

from infra.topology.accounts import WORKER
from infra.topology.buckets import STORE
from infra.topology.http import answers, ask
from infra.topology.programs import running, sweep
from infra.topology.services import postgres, prefect, redis, s3, worker
from infra.topology.site import ADMIN, OPTIONAL, PORTS, Site, missing
from slipway.stores import open_store
from tests.tiny_release import tiny_spec
from tests.topology import bring_up, folder_for_one, free_ports, topology

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RUN_LIMIT_S = 240.0
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with folder_for_one() as path:
        yield path


@pytest.fixture(scope="module")
def site(folder: Path) -> Site:
    """The topology, up."""
    return bring_up(folder)


def submit(site: Site, spec: dict[str, Any]) -> str:
    """What pressing Submit on the form does."""
    login = prefect.login(site)
    deployment = ask(f"{prefect.api(site)}/deployments/name/release/release", login=login)
    body = {"parameters": {"spec": spec}, "state": {"type": "SCHEDULED"}}
    path = f"/deployments/{deployment['id']}/create_flow_run"
    return str(ask(f"{prefect.api(site)}{path}", login=login, body=body)["id"])


def state(site: Site, run: str) -> dict[str, Any]:
    """The state of a run."""
    found = ask(f"{prefect.api(site)}/flow_runs/{run}", login=prefect.login(site))
    return dict(found["state"])


def wait_for(site: Site, run: str, types: set[str]) -> dict[str, Any]:
    """The run's state as soon as it is one of those."""
    deadline = time.monotonic() + RUN_LIMIT_S
    while (now := state(site, run))["type"] not in types:
        assert time.monotonic() < deadline, now
        assert now["type"] not in FINAL, now
        time.sleep(0.5)
    return now


def registered(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The version that the release has left in MLflow."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", WORKER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", site.secret("mlflow-worker"))
    client = mlflow.MlflowClient(site.url("mlflow"))
    return client.get_model_version_by_alias("tiny", "challenger")


def quick(files: Path) -> dict[str, Any]:
    """A release with as little in it as there can be."""
    return {**tiny_spec(files), "precisions": {}, "benchmark": {"providers": []}}


def test_every_part_that_is_installed_runs_and_no_other(site: Site) -> None:
    assert set(site.plan.parts) == {part for part in OPTIONAL if not missing(part)}
    assert answers(f"{prefect.api(site)}/health")
    assert answers(f"{site.url('mlflow')}/health")
    assert running(worker.NAME, site.folder)
    for part in {postgres.NAME, redis.NAME} & set(site.plan.parts):
        assert running(part, site.folder)
    if site.plan.has(s3.NAME):
        assert s3.status(site).count(" up ") == len(s3.PROCESSES)
    assert topology(site.folder, "status").returncode == 0


def test_nobody_gets_in_without_the_password(site: Site) -> None:
    for url in (
        f"{prefect.api(site)}/admin/version",
        f"{site.url('mlflow')}/api/2.0/mlflow/registered-models/search",
    ):
        for login in ("", f"{ADMIN}:guess", f"{ADMIN}:"):
            with pytest.raises(HTTPError) as refused:
                ask(url, login=login)
            refused.value.close()
            assert refused.value.code == 401


def test_secrets_are_for_their_owner_alone(site: Site) -> None:
    for path in (site.folder / "secrets").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for name in ("secrets", "log", "run", "data/mlflow", "data/prefect"):
        assert stat.S_IMODE((site.folder / name).stat().st_mode) == 0o700, name


def test_no_password_stands_on_a_command_line(site: Site) -> None:
    secrets = [
        path.read_bytes().strip()
        for path in (site.folder / "secrets").iterdir()
        if path.suffix != ".ini"
    ]
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # it has ended meanwhile
            continue
    assert any(str(site.folder).encode() in line or b"prefect" in line for line in lines)
    assert not [line for line in lines if any(secret in line for secret in secrets)]


def test_nothing_listens_beyond_this_machine(site: Site) -> None:
    ours = {f"{port:04X}" for port in site.plan.ports.values()}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            listens = line.split()[3] == "0A"
            assert not (listens and port in ours) or address == "0100007F", line


def test_a_restarted_worker_lets_its_runs_finish_first(
    site: Site, tiny_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = submit(site, quick(tiny_files))
    wait_for(site, run, {"RUNNING"})
    before = running("worker", site.folder)
    ran = topology(site.folder, "restart", "--drain", str(RUN_LIMIT_S))
    assert ran.returncode == 0, ran.stderr
    assert state(site, run)["type"] == "COMPLETED"
    assert running("worker", site.folder) not in {None, before}
    assert paused(site) == {"slipway": False, "slipway-cuda": False, "slipway-openvino": False}
    registered(site, monkeypatch)
    if site.plan.has(s3.NAME):
        for name, value in s3.environment(site).items():
            monkeypatch.setenv(name, value)
        assert next(open_store(f"s3://{STORE}").digests())


def paused(site: Site) -> dict[str, bool]:
    """The work pools, and which of them give out no runs."""
    pools = ask(f"{prefect.api(site)}/work_pools/filter", login=prefect.login(site), body={})
    return {pool["name"]: pool["is_paused"] for pool in pools}


def test_what_down_breaks_off_is_marked_and_the_rest_is_found_again_by_up(
    site: Site, tiny_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = registered(site, monkeypatch)
    long = {"queries": 20_000_000, "processes": 1, "max_seconds": 600.0}
    broken = submit(site, quick(tiny_files) | {"name": "broken-off", "benchmark": long})
    wait_for(site, broken, {"RUNNING"})
    pids = [pid for name in ("prefect", "mlflow", "worker") if (pid := running(name, site.folder))]
    ended = topology(site.folder, "down", "--drain", "0")
    assert ended.returncode == 0, ended.stderr
    assert sweep(site.folder) == 0, "down leaves no process"
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(URLError):
        ask(f"{prefect.api(site)}/health", login="")

    again = topology(site.folder, "up")
    assert again.returncode == 0, again.stdout + again.stderr
    left = state(site, broken)
    assert (left["type"], left["message"]) == ("CRASHED", "the worker was ended by make down")
    assert registered(site, monkeypatch).version == version.version
    assert set(paused(site).values()) == {False}


def test_a_second_up_leaves_what_runs_alone_and_starts_what_does_not(site: Site) -> None:
    server, gone = running("prefect", site.folder), running("worker", site.folder)
    assert server is not None
    assert gone is not None
    os.kill(gone, signal.SIGKILL)
    ran = topology(site.folder, "up")
    assert ran.returncode == 0, ran.stderr
    assert running("prefect", site.folder) == server
    assert running("worker", site.folder) not in {None, gone}


def test_a_port_that_another_program_has_is_named(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = folder.parent / "other"
        without = [word for part in OPTIONAL for word in ("--without", part)]
        ran = topology(other, "up", *without, ports=f"{free_ports()},prefect={port}")
    assert ran.returncode == 1
    assert f"another program listens on port {port}, where prefect belongs" in ran.stderr
    assert topology(other, "down").returncode == 0
    assert sweep(other) == 0


def test_down_without_a_topology_says_that_there_is_none(tmp_path: Path) -> None:
    ran = topology(tmp_path / "nowhere", "down")
    assert ran.returncode == 1
    assert "there is no topology" in ran.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_topology_whose_database_is_gone_is_not_started_on_another(tmp_path: Path) -> None:
    plan = {"parts": ["redis"], "ports": PORTS}
    (tmp_path / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    ran = topology(tmp_path, "up", PATH="/nonexistent")
    assert ran.returncode == 1
    assert "keeps its data in redis" in ran.stderr
