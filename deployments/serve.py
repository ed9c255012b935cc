"""One Prefect server, one worker and our deployments on this machine, until Ctrl-C.

For a first look and for development: no password, and nothing else is started. `make up` is the
topology of production. A server that PREFECT_API_URL names is used as it is.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from infra.topology.http import answers
from infra.topology.services.prefect import prefect, server_environment
from infra.topology.site import HOST, ROOT

PORT = os.environ.get("PREFECT_SERVER_API_PORT", "4200")
START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0

Running = subprocess.Popen[bytes]


def main() -> int:
    """Start what is missing, deploy, and wait."""
    # Ctrl-C as well: a shell starts what it puts in the background with that ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if home := os.environ.get("PREFECT_HOME"):
        Path(home).expanduser().mkdir(parents=True, exist_ok=True)
    running: list[Running] = []
    try:
        if not os.environ.get("PREFECT_API_URL"):
            running.append(_start_server())
        _deploy()
        running.append(_start("worker", "start", "--pool", "slipway"))
        page = os.environ["PREFECT_API_URL"].removesuffix("/api")
        print(f"\nOpen {page}/deployments and run one; Ctrl-C stops everything.", flush=True)
        return running[-1].wait()
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for program in reversed(running):
            _stop(program)


def _start_server() -> Running:
    page = f"http://{HOST}:{PORT}"
    api = f"{page}/api"
    if answers(f"{api}/health"):
        raise RuntimeError(
            f"a server answers at {api} already: set PREFECT_API_URL={api} to use it, or "
            "PREFECT_SERVER_API_PORT to start another"
        )
    os.environ["PREFECT_API_URL"] = api
    for name, value in server_environment(page).items():
        os.environ.setdefault(name, value)
    server = _start("server", "start", "--host", HOST, "--port", PORT)
    deadline = time.monotonic() + START_LIMIT_S
    while not answers(f"{api}/health"):
        if server.poll() is not None or time.monotonic() > deadline:
            _stop(server)
            raise RuntimeError(f"the server at {api} did not start; its messages are above")
        time.sleep(0.3)
    return server


def _deploy() -> None:
    if subprocess.run([sys.executable, "-m", "deployments"], cwd=ROOT, check=False).returncode:
        raise RuntimeError("the flows were not deployed; the message is above")


def _start(*arguments: str) -> Running:
    # A session of its own: Ctrl-C reaches this program alone, which stops the rest in order.
    return subprocess.Popen(prefect(*arguments), cwd=ROOT, start_new_session=True)


def _stop(program: Running) -> None:
    program.terminate()
    try:
        program.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
