"""A process that has the light imports done and forks a child for each order.

Importing onnx, numpy and our own types costs every child a third of a CPU second; forked, it costs
nothing. The nursery starts with a clean environment, runs nothing itself, and has one thread, which
is what makes forking it safe. So it never imports onnxruntime or a framework: their threads would
be missing in the fork.
"""

import atexit
import contextlib
import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from slipway.errors import ChildCrashed
from slipway.isolation import child, sandbox

_PID: Final = struct.Struct("i")
_PATIENCE_S: Final = 0.5  # for children that have answered and are about to end
_DESCRIPTORS: Final = 4  # order, answer, output, status


class Nursery:
    """The parent's handle: `fork` starts a child for an order.

    Threads may share one. It ends with this process, and all its children with it.
    """

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process; it imports `preload` before the first child is asked for."""
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and our own module
                [
                    *(sys.executable, "-I", "-m", "slipway.isolation.nursery"),
                    *(str(theirs.fileno()), *preload),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # One thread: a library's pool would not survive the fork.
                env={**environment, "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        # Whether children can be given a process namespace; without one they must be started
        # fresh, since only a fresh process can be found again by the mark in its environment.
        self.usable = self._control.recv(1) == b"y"
        atexit.register(self.close)

    def fork(self, order: int, answer: int, output: int, status: int) -> int:
        """The process id of a new child that was handed these descriptors.

        Raises:
            ChildCrashed: when the nursery itself has died.
        """
        with self._lock:
            try:
                socket.send_fds(self._control, [b"f"], [order, answer, output, status])
                data = self._control.recv(_PID.size)
            except OSError as error:
                raise ChildCrashed(f"the nursery of isolated children died: {error}") from error
        if len(data) != _PID.size:
            raise ChildCrashed("the nursery of isolated children died")
        return int(_PID.unpack(data)[0])

    def close(self) -> None:
        """End the process and wait for it; its children's CPU time is then this process's."""
        if os.getpid() != self.owner:
            return
        self._control.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)


def main() -> None:
    """The nursery's own process: import, then fork on request until the parent is gone."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.sendall(b"y" if _namespaces_hold() else b"n")
    for name in sys.argv[2:]:
        importlib.import_module(name)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, _DESCRIPTORS)
        _reap()
        if not data:
            # The parent closed its end, or is dead: children that run still die with this process.
            _reap(patience_s=_PATIENCE_S)
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            _become_child(*descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(_PID.pack(pid))


def _become_child(order_fd: int, answer_fd: int, output_fd: int, status_fd: int) -> NoReturn:
    """In the fork: read the order, run it, and report how it ended."""
    os.setsid()
    sandbox.die_with_parent()
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    os.close(output_fd)
    with os.fdopen(order_fd, "rb") as pipe:
        order = json.loads(pipe.read())
    os.environ["HOME"] = os.environ["TMPDIR"] = str(Path(order["scratch"]) / ".tmp")
    status = child.serve(order, answer_fd)
    os.write(status_fd, _PID.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def read_status(status_fd: int) -> int:
    """How a child ended, as `Popen.returncode` tells; a child that could not say was killed."""
    data = os.read(status_fd, _PID.size)
    return int(_PID.unpack(data)[0]) if len(data) == _PID.size else -signal.SIGKILL


def _namespaces_hold() -> bool:
    """Try it in a fork, which ends with what it tried."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if sandbox.leave_namespaces()["processes"] else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _reap(*, patience_s: float = 0.0) -> None:
    """Collect children that have ended, so that their CPU time is counted."""
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(ChildProcessError):  # there are none any more
        while os.waitpid(-1, os.WNOHANG)[0] or time.monotonic() < deadline:
            time.sleep(0.001)


if __name__ == "__main__":
    main()
