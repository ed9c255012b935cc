"""One Prefect server, one worker and our deployments on this machine, until Ctrl-C.

For a first look and for development. A server that PREFECT_API_URL names is used as it is.
"""

import os
import signal
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
HOST, PORT = "127.0.0.1", os.environ.get("PREFECT_SERVER_API_PORT", "4200")
START_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0

Program = subprocess.Popen[bytes]


def main() -> int:
    """Start what is missing, deploy, and wait."""
    # Ctrl-C as well: a shell starts what it puts in the background with that ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if home := os.environ.get("PREFECT_HOME"):
        Path(home).expanduser().mkdir(parents=True, exist_ok=True)
    running: list[Program] = []
    try:
        if not os.environ.get("PREFECT_API_URL"):
            running.append(_start_server())
        _prefect("work-pool", "create", "slipway", "--type", "process", "--overwrite")
        _prefect("--no-prompt", "deploy", "--prefect-file", "deployments/prefect.yaml", "--all")
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


def _start_server() -> Program:
    api = f"http://{HOST}:{PORT}/api"
    if _answers(f"{api}/health"):
        raise RuntimeError(
            f"a server answers at {api} already: set PREFECT_API_URL={api} to use it, or "
            "PREFECT_SERVER_API_PORT to start another"
        )
    os.environ["PREFECT_API_URL"] = api
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", api)  # the UI asks port 4200 otherwise
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    server = _start("server", "start", "--host", HOST, "--port", PORT)
    deadline = time.monotonic() + START_LIMIT_S
    while not _answers(f"{api}/health"):
        if server.poll() is not None or time.monotonic() > deadline:
            _stop(server)
            raise RuntimeError(f"the server at {api} did not start; its messages are above")
        time.sleep(0.3)
    return server


def _start(*arguments: str) -> Program:
    # A session of its own: Ctrl-C reaches this program alone, which stops the rest in order.
    return subprocess.Popen(_command(arguments), cwd=ROOT, start_new_session=True)


def _prefect(*arguments: str) -> None:
    ran = subprocess.run(_command(arguments), cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    if ran.returncode:
        raise RuntimeError(f"prefect {' '.join(arguments)} failed; its message is above")


def _command(arguments: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "prefect", *arguments]


def _stop(program: Program) -> None:
    program.terminate()
    try:
        program.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
