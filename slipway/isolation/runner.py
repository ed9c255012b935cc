"""The parent's side of isolation: start a child, watch it, kill it, turn its end into an answer.

A segfault, a hang or an out-of-memory becomes a clear error of the caller; the caller's process
goes on. No secrets are inherited: the child's environment is made from nothing.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from slipway.errors import (
    ChildCrashed,
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    EnvironmentMissing,
    error_classes,
)
from slipway.isolation.interpreters import requirements
from slipway.isolation.nursery import Nursery, read_status

logger = logging.getLogger(__name__)

Result = TypeVar("Result", bound=BaseModel)

_PASSED_ON: Final = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OMP_NUM_THREADS",
    "TZ",
)
_PACKAGE: Final = Path(__file__).resolve().parents[1]
# What the core imports in an exporter's child: package by module.
_NEEDED: Final = {"pydantic": "pydantic", "yaml": "pyyaml", "numpy": "numpy", "onnx": "onnx"}
GUEST_PACKAGES: Final = tuple(_NEEDED.values())
"""What an environment of its own must have beside the framework."""
_TAIL_BYTES: Final = 8_000
_ANSWER_LIMIT_BYTES: Final = 64 << 20
_POLL_S: Final = 0.1
_MARK: Final = "SLIPWAY_CHILD"
_OUT_OF_MEMORY_SIGNS: Final = (
    *(b"bad_alloc", b"MemoryError", b"allocate memory", b"out of memory"),
    b"OpenBLAS error: Memory allocation",
)


@dataclass(frozen=True)
class Limits:
    """What a child may use.

    Args:
        timeout_s: Wall-clock seconds until it is killed, with everything that it started.
        memory_bytes: Memory until it is stopped; 85 % of the machine's when None.
    """

    timeout_s: float = 1800.0
    memory_bytes: int | None = None

    @property
    def memory_limit_bytes(self) -> int:
        """The limit with the default filled in."""
        return self.memory_bytes or int(_physical_memory_bytes() * 0.85)


@dataclass
class _Child:
    """A running child: `wait` gives how it ended, as `Popen.returncode` does."""

    pid: int
    output_fd: int
    answer_fd: int
    wait: Callable[[], int]
    limits: Limits
    mark: str | None = None
    output: bytearray = field(default_factory=bytearray)
    answer: bytearray = field(default_factory=bytearray)
    peak_bytes: int = 0
    ended: bool = False

    def tail(self) -> str:
        text = bytes(self.output[-_TAIL_BYTES:]).decode(errors="replace").strip()
        lines = text.splitlines()[-15:]
        return "\n  ".join(["; its last output:", *lines]) if lines else ""


def run_isolated(
    function: str,
    request: BaseModel,
    *,
    returns: type[Result],
    scratch: Path,
    what: str,
    limits: Limits | None = None,
    reads: Sequence[Path] = (),
    python: str | None = None,
    preload: Sequence[str] = (),
) -> Result:
    """Call `module:function(request, scratch)` of slipway in a sandboxed child process.

    The child may read programs, `reads` and the folder that holds `scratch`; it may write only in
    `scratch`, which exists afterwards with what it wrote. It has no network, none of this
    process's environment, and ends when this process ends.

    Args:
        function: `slipway.module:function`; its first parameter is named `request`.
        request: Passed as JSON; validated again in the child by the declared type.
        returns: The type that the answer is validated as.
        scratch: An existing folder of its own.
        what: For messages: "export of model.pt2".
        limits: Time and memory.
        reads: Further files and folders that it may read.
        python: Another environment's interpreter; this one if None. Slipway need not be
            installed there.
        preload: Light modules that the child may find imported already; then it is forked from a
            process that has them, where that is safe, and else started fresh all the same.

    Raises:
        SlipwayError: the child's own, of its own type.
        ChildTimedOut, ChildOutOfMemory, ChildCrashed: when it did not answer.
        ChildFailed: an exception that nobody foresaw; its text and the last output are inside.
        EnvironmentMissing: when the interpreter cannot be started.
    """
    limits = limits or Limits()
    order = {
        "function": function,
        "request": request.model_dump_json(),
        "scratch": str(scratch.resolve()),
        "reads": [str(path.resolve()) for path in (*reads, *([_PACKAGE] if python else []))],
        "memory_limit_bytes": limits.memory_limit_bytes,
    }
    started = time.monotonic()
    temporary = scratch / ".tmp"
    temporary.mkdir(exist_ok=True)
    nursery = _nursery(tuple(preload)) if preload and python is None else None
    child = (
        _fork(nursery, order, limits)
        if nursery is not None
        else _start(order, temporary, python, limits)
    )
    try:
        _watch(child, what)
        code = child.wait()
        child.ended = True
    finally:
        _end(child)
    logger.debug(
        "%s took %.1f s, peak %d MiB", what, time.monotonic() - started, child.peak_bytes >> 20
    )
    return returns.model_validate_json(_open_answer(child, code, what))


def _start(order: Mapping[str, Any], temporary: Path, python: str | None, limits: Limits) -> _Child:
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

    return _Child(
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
    return [python, "-I", str(_PACKAGE / "isolation" / "guest.py"), answer_fd, *needed]


def _fork(nursery: Nursery, order: Mapping[str, Any], limits: Limits) -> _Child:
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

    return _Child(pid=pid, output_fd=output_fd, answer_fd=answer_fd, wait=wait, limits=limits)


_NURSERIES: Final[dict[tuple[str, ...], Nursery]] = {}
_NURSERIES_LOCK: Final = threading.Lock()


def _nursery(preload: tuple[str, ...]) -> Nursery | None:
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
        _MARK: mark,
        "HOME": str(temporary),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "USER": "slipway",
    }


def _watch(child: _Child, what: str) -> None:
    """Read output and answer until both ends close; raise when a limit is passed."""
    deadline = time.monotonic() + child.limits.timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(child.output_fd, selectors.EVENT_READ, child.output)
        selector.register(child.answer_fd, selectors.EVENT_READ, child.answer)
        while selector.get_map():
            for key, _ in selector.select(timeout=_POLL_S):
                data = os.read(key.fd, 1 << 16)
                key.data.extend(data)
                if not data:
                    selector.unregister(key.fileobj)
            del child.output[: -2 * _TAIL_BYTES]
            _enforce(child, deadline, what)


def _enforce(child: _Child, deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise ChildTimedOut(
            f"{what} ran past its limit of {child.limits.timeout_s:g} s and was stopped; raise "
            f"SLIPWAY_TIMEOUT_S if it needs longer{child.tail()}"
        )
    child.peak_bytes = max(child.peak_bytes, _resident_bytes(child.pid))
    if child.peak_bytes > child.limits.memory_limit_bytes:
        raise _out_of_memory(child, what)
    if len(child.answer) > _ANSWER_LIMIT_BYTES:
        raise ChildFailed(f"{what} answered more than {_ANSWER_LIMIT_BYTES >> 20} MiB")


def _out_of_memory(child: _Child, what: str, detail: str = "") -> ChildOutOfMemory:
    limit = child.limits.memory_limit_bytes
    return ChildOutOfMemory(
        f"{what} needs more memory than its limit of {limit / 2**30:.1f} GiB (it held "
        f"{child.peak_bytes / 2**30:.1f} GiB{detail}); raise SLIPWAY_MEMORY_LIMIT_BYTES, or use "
        "a machine with more memory"
    )


def _end(child: _Child) -> None:
    """Leave nothing running: the child, its group, and whatever moved to another session."""
    if not child.ended:
        # Both, since a forked child may not lead its own group yet.
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(child.pid, signal.SIGKILL)
        child.wait()
    for pid in _marked(child.mark) if child.mark else ():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    os.close(child.answer_fd)
    os.close(child.output_fd)


def _open_answer(child: _Child, code: int, what: str) -> str:
    if not child.answer:
        if any(sign in child.output for sign in _OUT_OF_MEMORY_SIGNS):
            raise _out_of_memory(child, what)
        if code < 0:
            name = signal.Signals(-code).name
            raise ChildCrashed(
                f"{what} crashed ({name}); this process is unharmed. The model or the converter "
                f"is at fault{child.tail()}"
            )
        raise ChildCrashed(f"{what} ended with status {code} and no answer{child.tail()}")
    try:
        answer = json.loads(child.answer)
    except ValueError as error:
        raise ChildCrashed(f"{what} died while answering{child.tail()}") from error
    if "error" not in answer:
        return str(answer["result"])
    kind, message = answer["error"]["type"], answer["error"]["message"]
    if kind == "ChildOutOfMemory":
        raise _out_of_memory(child, what, f"; {message}" if message else "")
    if kind in error_classes():
        raise error_classes()[kind](message)
    raise ChildFailed(f"{what} failed: {message}{child.tail()}")


def _physical_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process and of all that it started."""
    total, pending = 0, [pid]
    page = os.sysconf("SC_PAGE_SIZE")
    while pending:
        current = pending.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * page
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
    return total


def _marked(mark: str) -> list[int]:
    """Processes whose environment carries this child's mark."""
    needle = f"{_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if needle in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found
