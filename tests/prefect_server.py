"""One real Prefect server for all tests of a session, shared by its workers.

Starting one takes ten seconds, so the first worker that needs it starts it, and stops it when the
last is done with it. Locks on a file count the users: the kernel gives them back even if one dies.
"""

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOGGING_TO_API_ENABLED,
    temporary_settings,
)

START_LIMIT_S = 120.0


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@contextlib.contextmanager
def serving(home: Path) -> Iterator[str]:
    """A server of its own home, until the end of the block; gives the API's address."""
    port = free_port()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            env=environment(home, f"http://127.0.0.1:{port}/api"),
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - no threads here yet
        )
    try:
        deadline = time.monotonic() + START_LIMIT_S
        while not _answers(f"http://127.0.0.1:{port}/api/health"):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline, (home / "server.log").read_text()
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def environment(home: Path, api: str) -> dict[str, str]:
    """This process's environment, for a program that talks to that server alone."""
    ours = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_DEPLOYMENTS_SCHEDULER_LOOP_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
    }
    others = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "SLIPWAY_"))}
    return {**others, **ours}


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's server and clients keep their files; the same for all workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect"


@pytest.fixture(scope="session")
def prefect_api(prefect_home: Path) -> Iterator[str]:
    """The address of the session's server."""
    prefect_home.mkdir(exist_ok=True)
    address = prefect_home / "address"
    with (
        (prefect_home / "start.lock").open("w") as starting,
        (prefect_home / "users.lock").open("w") as users,
        contextlib.ExitStack() as stack,
    ):
        fcntl.flock(starting, fcntl.LOCK_EX)
        mine = not (address.exists() and _answers(f"{address.read_text()}/health"))
        if mine:
            address.write_text(stack.enter_context(serving(prefect_home)))
        fcntl.flock(users, fcntl.LOCK_SH)
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield address.read_text()
        fcntl.flock(users, fcntl.LOCK_UN)
        if mine:
            fcntl.flock(starting, fcntl.LOCK_EX)  # nobody begins while it ends
            fcntl.flock(users, fcntl.LOCK_EX)  # all others are done
            address.unlink()


@contextlib.contextmanager
def client_of(api: str, home: Path) -> Iterator[None]:
    """Flows and tasks inside the block talk to that server."""
    with temporary_settings(
        {
            PREFECT_API_URL: api,
            PREFECT_HOME: home,
            PREFECT_LOGGING_TO_API_ENABLED: False,
            PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # its thread costs a second a flow
        }
    ):
        yield


@pytest.fixture
def prefect_client(prefect_api: str, prefect_home: Path) -> Iterator[None]:
    """Flows and tasks of this test talk to the session's server."""
    with client_of(prefect_api, prefect_home):
        yield


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == 200)
    except OSError:
        return False


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
