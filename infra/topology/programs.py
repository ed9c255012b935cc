"""Programs that run in the background: started, found again, and ended with all they started.

A program is known by a file with its process id and its start time, since ids are used again. Each
gets a session of its own, and an environment variable by which what it left behind is found.
"""

import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from infra.topology.failures import TopologyError

MARK: Final = "SLIPWAY_TOPOLOGY"
START_LIMIT_S: Final = 180.0
STOP_LIMIT_S: Final = 30.0
LAST_LINES: Final = 15


@dataclass(frozen=True)
class Program:
    """What to run."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    port: int | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM


def start(program: Program, folder: Path, cwd: Path) -> None:
    """Start a program unless it runs already; its messages go to `folder/log/NAME.log`.

    Raises:
        TopologyError: when another program listens on its port, which would answer in its place.
    """
    if running(program.name, folder) is not None:
        return
    if program.port is not None and not _is_free(program.port):
        raise TopologyError(
            f"another program listens on port {program.port}, where {program.name} belongs: end "
            f"it, or give {program.name} another port in {folder}/plan.json"
        )
    log = log_file(program.name, folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as messages:
        process = subprocess.Popen(
            program.command,
            cwd=cwd,
            env={**program.environment, MARK: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=messages,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **account(program.user),
        )
    path = _file(program.name, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {
        "pid": process.pid,
        "started": _started(process.pid),
        "stop": int(program.stop_signal),
    }
    path.write_text(json.dumps(known), encoding="utf-8")


def running(name: str, folder: Path) -> int | None:
    """The process id of a program that was started here and still runs."""
    try:
        known = json.loads(_file(name, folder).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    pid = int(known["pid"])
    alive = known["started"] is not None and _started(pid) == known["started"]
    return pid if alive else None


def stop(name: str, folder: Path) -> bool:
    """End a program; gives whether it ran."""
    pid = running(name, folder)
    path = _file(name, folder)
    if pid is None:
        path.unlink(missing_ok=True)
        return False
    os.kill(pid, json.loads(path.read_text(encoding="utf-8"))["stop"])
    if not _within(STOP_LIMIT_S, lambda: running(name, folder) is None):
        os.killpg(pid, signal.SIGKILL)
        _within(STOP_LIMIT_S, lambda: running(name, folder) is None)
    path.unlink(missing_ok=True)
    return True


def wait_until(
    healthy: Callable[[], bool], name: str, folder: Path, *, limit_s: float = START_LIMIT_S
) -> None:
    """Return as soon as a program is healthy.

    Raises:
        TopologyError: with its last messages, when it ends or the limit is reached.
    """
    ended = False

    def settled() -> bool:
        nonlocal ended
        ended = running(name, folder) is None
        return ended or healthy()

    if not _within(limit_s, settled) or ended:
        what = "ended" if ended else f"was not ready within {limit_s:.0f} s"
        raise TopologyError(
            f"{name} {what}; its last messages in {log_file(name, folder)}:\n"
            + last_lines(name, folder)
        )


def sweep(folder: Path) -> int:
    """Kill what programs of this folder have left running; gives how many processes."""
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal())
    left = [pid for pid in pids if _marked(pid, folder)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    _within(STOP_LIMIT_S, lambda: not any(_marked(pid, folder) for pid in left))
    return len(left)


def log_file(name: str, folder: Path) -> Path:
    """Where a program's messages go."""
    return folder / "log" / f"{name}.log"


def last_lines(name: str, folder: Path) -> str:
    """The end of a program's messages."""
    try:
        text = log_file(name, folder).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return "(none)"
    return "\n".join(text.splitlines()[-LAST_LINES:])


class Account(TypedDict, total=False):
    """Popen's arguments for running as another user."""

    user: int
    group: int
    extra_groups: list[int]


def account(user: str | None) -> Account:
    """How to run as a system user; as this process does, unless that is root."""
    if user is None or os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise TopologyError(f"there is no user {user} for its program to run as") from error
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to(user: str, path: Path) -> None:
    """Make a file or folder a system user's own, if this process is root.

    Raises:
        TopologyError: when that user cannot get there.
    """
    if not (owner := account(user)):
        return
    for parent in path.resolve().parents:
        entered = parent.stat()
        if not (entered.st_mode & 0o001 or entered.st_uid == owner["user"]):
            raise TopologyError(
                f"the user {user} may not enter {parent}, and its program must not run as root: "
                "start as an ordinary user, or set SLIPWAY_TOPOLOGY_FOLDER to a folder that all "
                "may enter, such as /var/lib/slipway"
            )
    os.chown(path, owner["user"], owner["group"])


def _within(limit_s: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


def _marked(pid: int, folder: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return f"{MARK}={folder}".encode() in environment.split(b"\0")


def _file(name: str, folder: Path) -> Path:
    return folder / "run" / f"{name}.json"
