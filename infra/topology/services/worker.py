"""A process worker on this machine, drained before it is ended so that no run stays Running."""

import json
import time
from urllib.error import URLError

from infra.topology.buckets import STORE
from infra.topology.http import ask
from infra.topology.programs import Program, running, start, stop, wait_until
from infra.topology.services import mlflow, prefect, s3
from infra.topology.site import ROOT, Site

NAME = "worker"
POOL = "slipway"
_UNFINISHED = ["RUNNING", "PENDING", "CANCELLING"]
_PAUSED = "paused-by-down.json"


def up(site: Site) -> None:
    """Start the worker, and let the pools go on that `down` has paused."""
    command = (*prefect.prefect("worker", "start"), "--pool", POOL, "--name", "this-machine")
    environment = prefect.plain_environment() | client_environment(site)
    start(Program(NAME, command, environment), site.folder, ROOT)
    marker = site.folder / "run" / _PAUSED
    if marker.exists():
        for pool in json.loads(marker.read_text(encoding="utf-8")):
            _set_paused(site, pool, paused=False)
        marker.unlink()
    wait_until(lambda: _polls(site), NAME, site.folder)


def down(site: Site, *, drain_s: float) -> bool:
    """Let no worker of any pool take more runs, wait for those that run, then end this one.

    A run that is not done in time is marked Crashed, on whatever machine it is: Prefect would leave
    it Running for ever. Gives whether there was a worker.
    """
    if running(NAME, site.folder) is None:
        return False
    try:
        _drain(site, drain_s)
        stop(NAME, site.folder)
        for run in _unfinished(site):
            state = {"type": "CRASHED", "message": "the worker was ended by make down"}
            address = f"{prefect.api(site)}/flow_runs/{run}/set_state"
            ask(address, login=prefect.login(site), body={"state": state, "force": True})
    except URLError:  # the server has gone before its worker
        stop(NAME, site.folder)
    return True


def client_environment(site: Site) -> dict[str, str]:
    """What flows need that run against this topology."""
    home = site.folder / "client"
    home.mkdir(exist_ok=True)
    return {
        "SLIPWAY_HOME": str(site.home),
        **({"SLIPWAY_STORE": f"s3://{STORE}"} if site.plan.has(s3.NAME) else {}),
        **(s3.environment(site) if site.plan.has(s3.NAME) else {}),
        **mlflow.client_environment(site),
        "PREFECT_API_URL": prefect.api(site),
        "PREFECT_API_AUTH_STRING": prefect.login(site),
        "PREFECT_HOME": str(home),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DO_NOT_TRACK": "1",
    }


def _drain(site: Site, limit_s: float) -> None:
    pools = ask(f"{prefect.api(site)}/work_pools/filter", login=prefect.login(site), body={})
    going = [pool["name"] for pool in pools if not pool["is_paused"]]
    marker = site.folder / "run" / _PAUSED
    ours = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else []
    marker.write_text(json.dumps([*ours, *going]), encoding="utf-8")
    for pool in going:
        _set_paused(site, pool, paused=True)
    deadline = time.monotonic() + limit_s
    while _unfinished(site) and time.monotonic() < deadline:
        time.sleep(1)


def _unfinished(site: Site) -> list[str]:
    wanted = {"flow_runs": {"state": {"type": {"any_": _UNFINISHED}}}}
    found = ask(f"{prefect.api(site)}/flow_runs/filter", login=prefect.login(site), body=wanted)
    return [str(run["id"]) for run in found]


def _set_paused(site: Site, pool: str, *, paused: bool) -> None:
    address = f"{prefect.api(site)}/work_pools/{pool}"
    ask(address, login=prefect.login(site), body={"is_paused": paused}, method="PATCH")


def _polls(site: Site) -> bool:
    address = f"{prefect.api(site)}/work_pools/{POOL}/workers/filter"
    workers = ask(address, login=prefect.login(site), body={})
    return any(worker["status"] == "ONLINE" for worker in workers)
