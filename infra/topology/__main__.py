"""`python -m infra.topology up | down | restart | status | env`: the topology of production, here.

`up` starts what is not running, on ports of this machine alone; `down` ends it and keeps its data;
`restart` gives the worker this checkout's code, once the runs that are under way are done.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from infra.topology.failures import TopologyError
from infra.topology.programs import running, stop, sweep
from infra.topology.services import mlflow, postgres, prefect, redis, s3, worker
from infra.topology.site import ADMIN, OPTIONAL, ROOT, Site, make_site, missing, open_site

Start = Callable[[Site], None]

# What starts together stands in one row; each row needs those above it.
DATA: Final[dict[str, Start]] = {postgres.NAME: postgres.up, redis.NAME: redis.up, s3.NAME: s3.up}
SERVERS: Final[dict[str, Start]] = {prefect.NAME: prefect.up, mlflow.NAME: mlflow.up}
WORKERS: Final[dict[str, Start]] = {worker.NAME: worker.up}

DRAIN_S: Final = 30.0
RELEASE_S: Final = 1800.0
"""As long as a stage may take."""
_INSTEAD: Final = {
    "postgres": "SQLite, for one worker at a time",
    "redis": "messages in the server's memory",
    "s3": "a folder",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    asked = _parser().parse_args(arguments)
    try:
        asked.command(asked.folder.resolve(), asked)
    except TopologyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def up(folder: Path, asked: argparse.Namespace) -> None:
    """Start what is not running, deploy the flows, and say where everything is."""
    site = make_site(folder, without=frozenset(asked.without))
    _start({name: begin for name, begin in DATA.items() if site.plan.has(name)}, site)
    _start(SERVERS, site)
    _start({"deployments": _deploy}, site)
    _start(WORKERS, site)
    _say_where(site)


def down(folder: Path, asked: argparse.Namespace) -> None:
    """End everything in the opposite order; the data stay."""
    site = open_site(folder)
    if running(worker.NAME, folder):
        print(f"waiting up to {asked.drain:.0f} s for runs to finish", flush=True)
    ended = {worker.NAME: worker.down(site, drain_s=asked.drain)}
    for name in (*SERVERS, redis.NAME):
        ended[name] = stop(name, site.folder)
    if site.plan.has(s3.NAME):
        ended[s3.NAME] = s3.down(site)
    ended[postgres.NAME] = stop(postgres.NAME, site.folder)
    left = sweep(site.folder)
    names = ", ".join(name for name, ran in ended.items() if ran) or "nothing was running"
    print(f"ended: {names}" + (f"; killed {left} processes they had left" if left else ""))
    print(f"the data stay in {site.folder}")


def restart(folder: Path, asked: argparse.Namespace) -> None:
    """End the worker when its runs are done, and start it again; the servers go on."""
    site = open_site(folder)
    if running(worker.NAME, folder):
        print(f"waiting up to {asked.drain:.0f} s for runs to finish", flush=True)
    worker.down(site, drain_s=asked.drain)
    _start({"deployments": _deploy}, site)
    _start(WORKERS, site)


def status(folder: Path, _: argparse.Namespace) -> None:
    """Say what runs; the exit status is 1 where something does not."""
    site = open_site(folder)
    names = [name for name in DATA if site.plan.has(name)] + [*SERVERS, *WORKERS]
    pids = {name: running(name, site.folder) for name in names if name != s3.NAME}
    for name, pid in pids.items():
        print(f"{name:<12} {f'running, process {pid}' if pid else 'not running'}")
    if site.plan.has(s3.NAME):
        print(s3.status(site))
    if not all(pids.values()):
        raise TopologyError("not all of it runs: make up")


def environment(folder: Path, _: argparse.Namespace) -> None:
    """Print what a shell needs to use the topology, passwords included."""
    for name, value in worker.client_environment(open_site(folder)).items():
        print(f"export {name}={shlex.quote(value)}")


def _start(services: dict[str, Start], site: Site) -> None:
    def begin(name: str) -> str:
        clock = time.monotonic()
        services[name](site)
        return f"{name:<12} ready after {time.monotonic() - clock:4.1f} s"

    with ThreadPoolExecutor(max(1, len(services))) as pool:
        for line in pool.map(begin, services):
            print(line, flush=True)


def _deploy(site: Site) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "deployments"],
        cwd=ROOT,
        env=prefect.plain_environment() | worker.client_environment(site),
        check=False,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise TopologyError(
            f"the flows were not deployed:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
        )


def _say_where(site: Site) -> None:
    secrets = site.folder / "secrets"
    print(f"\nPrefect  {site.url(prefect.NAME)}   {ADMIN}:PASSWORD, which is in {secrets}/prefect")
    print(f"MLflow   {site.url(mlflow.NAME)}   {ADMIN}, password in {secrets}/mlflow-admin")
    for part in OPTIONAL:
        if not site.plan.has(part):
            why = f": {', '.join(gone)} not installed" if (gone := missing(part)) else ""
            print(f"no {part}{why}; instead: {_INSTEAD[part]}")
    print(f"messages of every program: {site.folder}/log\nmake down ends it and keeps its data")


def _parser() -> argparse.ArgumentParser:
    home = Path(os.environ.get("SLIPWAY_HOME") or "~/.slipway").expanduser()
    parser = argparse.ArgumentParser(prog="python -m infra.topology", description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("SLIPWAY_TOPOLOGY_FOLDER") or home / "topology"),
        help="where its data, secrets and messages are",
    )
    commands = parser.add_subparsers(required=True)
    starting = commands.add_parser("up", help="start what is not running")
    starting.add_argument(
        "--without",
        action="append",
        choices=list(OPTIONAL),
        default=[],
        help="leave this out of a new topology",
    )
    starting.set_defaults(command=up)
    ending = commands.add_parser("down", help="end it, and keep its data")
    ending.add_argument(
        "--drain", type=float, default=DRAIN_S, help="seconds to wait for runs that are under way"
    )
    ending.set_defaults(command=down)
    again = commands.add_parser("restart", help="restart the worker, when its runs are done")
    again.add_argument(
        "--drain", type=float, default=RELEASE_S, help="seconds to wait for runs under way"
    )
    again.set_defaults(command=restart)
    commands.add_parser("status", help="say what runs").set_defaults(command=status)
    commands.add_parser(
        "env", help="print a shell's environment for it, with passwords"
    ).set_defaults(command=environment)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
