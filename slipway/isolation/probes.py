"""Attempts that a sandbox must stop, run as a child would: for `slipway doctor` and the tests.

Each probe does the thing for real and says whether it could.
"""

import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

from slipway.artifacts import Value

Action = Literal[
    "answer", "read", "write", "connect", "environment", "allocate", "hang", "crash", "exit", "flee"
]


class ProbeRequest(Value):
    """What to attempt, and on what (a path, host:port, a count of bytes, or a name)."""

    action: Action
    target: str = ""


class ProbeAnswer(Value):
    """Whether the attempt came through, and what was seen."""

    done: bool
    detail: str = ""


def attempt(request: ProbeRequest, scratch: Path) -> ProbeAnswer:
    """Do what is asked; an attempt that the system refuses is `done=False`."""
    try:
        return ProbeAnswer(done=True, detail=_ATTEMPTS[request.action](request.target, scratch))
    except OSError as error:
        return ProbeAnswer(done=False, detail=f"{type(error).__name__}: {error}")


def _answer(target: str, _: Path) -> str:
    return target


def _read(target: str, _: Path) -> str:
    return Path(target).read_bytes()[:100].decode(errors="replace")


def _write(target: str, _: Path) -> str:
    Path(target).write_text("written by a probe", encoding="ascii")
    return target


def _connect(target: str, _: Path) -> str:
    host, port = target.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=2):
        return target


def _environment(target: str, _: Path) -> str:
    return os.environ.get(target, "")


def _allocate(target: str, _: Path) -> str:
    held = bytearray()
    while len(held) < int(target):
        held += bytes(16 << 20)
    return str(len(held))


def _hang(_: str, __: Path) -> str:
    ctypes.CDLL(None).sleep(3600)  # native code, which no Python timeout interrupts
    return ""


def _crash(_: str, __: Path) -> str:
    sys.stderr.write("about to crash\n")
    sys.stderr.flush()
    ctypes.string_at(0)
    return ""


def _exit(target: str, _: Path) -> str:
    os._exit(int(target))


def _flee(target: str, _: Path) -> str:
    """Start a process in another session, which then outlives a kill of this group."""
    with contextlib.suppress(subprocess.SubprocessError):
        subprocess.Popen(  # noqa: S603 - this interpreter
            [sys.executable, "-c", "import time; time.sleep(600)", target], start_new_session=True
        )
    time.sleep(0.2)
    return target


_ATTEMPTS = {
    "answer": _answer,
    "read": _read,
    "write": _write,
    "connect": _connect,
    "environment": _environment,
    "allocate": _allocate,
    "hang": _hang,
    "crash": _crash,
    "exit": _exit,
    "flee": _flee,
}
