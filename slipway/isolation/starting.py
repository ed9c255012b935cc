"""Starting a child: a fresh interpreter, another environment's, or a fork of the nursery.

No secrets are inherited: the child's environment is made from nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from slipway.errors import ChildCrashed, EnvironmentMissing
from slipway.isolation.interpreters import requirements
from slipway.isolation.nursery import Nursery, read_status
from slipway.isolation.supervision import MARK, Child, Limits

PACKAGE: Final = Path(__file__).resolve().parents[1]
"""Slipway's own folder, which another environment's interpreter is lent."""

_PASSED_ON: Final = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OMP_NUM_THREADS",
    "TZ",
)
# What the core imports in an exporter's child: package by module.
_NEEDED: Final = {"pydantic": "pydantic", "yaml": "pyyaml", "numpy": "numpy", "onnx": "onnx"}
GUEST_PACKAGES: Final = tuple(_NEEDED.values())
"""What an environment of its own must have beside the framework."""


def start(order: Mapping[str, Any], temporary: Path, python: str | None, limits: Limits) -> Child:
    """A fresh interpreter: this one, or another environment's that gets our package lent."""
    mark = uuid.uuid4().hex
    reading, writing = os.pipe()
    output, output_end = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - an interpreter and our own module
            _command(python, str(writing)),
            stdin=subprocess.PIPE,
            stdout=output_end,
            stderr=output_end,
            pass_fds=[writing],
            env=_environment(temporary, mark),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        os.close(output)
        raise EnvironmentMissing(f"cannot start {python or sys.executable}: {error}") from error
    finally:
        os.close(writing)
        os.close(output_end)
    assert process.stdin is not None  # noqa: S101 - asked for above
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()

    def wait() -> int:
        # Its group is ended while its number cannot be anybody else's yet: before it is reaped.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    return Child(
        pid=process.pid,
        output_fd=output,
        answer_fd=reading,
        wait=wait,
        limits=limits,
        mark=mark,
    )


def _command(python: str | None, answer_fd: str) -> list[str]:
    if python is None:
        return [sys.executable, "-I", "-m", "slipway.isolation.child", answer_fd]
    bounds = requirements()
    needed = [f"{module}={bounds.get(name, name)}" for module, name in _NEEDED.items()]
    return [python, "-I", str(PACKAGE / "isolation" / "guest.py"), answer_fd, *needed]


def fork(nursery: Nursery, order: Mapping[str, Any], limits: Limits) -> Child:
    """A child of the nursery."""
    pipes = [os.pipe() for _ in range(4)]
    (order_end, order_fd), (answer_fd, answer_end), (output_fd, output_end), (status, end) = pipes
    theirs = (order_end, answer_end, output_end, end)
    try:
        pid = nursery.fork(*theirs)
    except ChildCrashed:
        for descriptor in (order_fd, answer_fd, output_fd, status):
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    with contextlib.suppress(BrokenPipeError), os.fdopen(order_fd, "wb") as pipe:
        pipe.write(json.dumps(order).encode())

    def wait() -> int:
        try:
            return read_status(status)
        finally:
            os.close(status)

    return Child(pid=pid, output_fd=output_fd, answer_fd=answer_fd, wait=wait, limits=limits)


_NURSERIES: Final[dict[tuple[str, ...], Nursery]] = {}
_NURSERIES_LOCK: Final = threading.Lock()


def nursery_with(preload: tuple[str, ...]) -> Nursery | None:
    """This process's nursery with these modules; None where it cannot be used."""
    with _NURSERIES_LOCK:
        found = _NURSERIES.get(preload)
        if found is None or found.owner != os.getpid():
            found = _NURSERIES[preload] = Nursery(preload, _environment(Path("/nonexistent"), ""))
        return found if found.usable else None


def _environment(temporary: Path, mark: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {
        **inherited,
        MARK: mark,
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "USER": "slipway",
    }
