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
import time
import uuid
from collections.abc import Mapping, Sequence
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
    process: subprocess.Popen[bytes]
    answer_fd: int
    mark: str
    limits: Limits
    output: bytearray = field(default_factory=bytearray)
    answer: bytearray = field(default_factory=bytearray)
    peak_bytes: int = 0

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
        python: Another interpreter whose environment has the framework; this one if None.

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
        "reads": [str(path.resolve()) for path in reads],
        "memory_limit_bytes": limits.memory_limit_bytes,
    }
    started = time.monotonic()
    child = _start(order, scratch, python or sys.executable, limits)
    try:
        _watch(child, what)
        code = child.process.wait()
    finally:
        _end(child)
    logger.debug(
        "%s took %.1f s, peak %d MiB", what, time.monotonic() - started, child.peak_bytes >> 20
    )
    return returns.model_validate_json(_open_answer(child, code, what))


def _start(order: Mapping[str, Any], scratch: Path, python: str, limits: Limits) -> _Child:
    mark = uuid.uuid4().hex
    temporary = scratch / ".tmp"
    temporary.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - an interpreter and our own module
            [python, "-I", "-m", "slipway.isolation.child", str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[writing],
            env=_environment(temporary, mark),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        raise EnvironmentMissing(f"cannot start {python}: {error}") from error
    finally:
        os.close(writing)
    assert process.stdin is not None  # noqa: S101 - asked for above
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
    return _Child(process=process, answer_fd=reading, mark=mark, limits=limits)


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
    assert child.process.stdout is not None  # noqa: S101 - a pipe, see _start
    with selectors.DefaultSelector() as selector:
        selector.register(child.process.stdout, selectors.EVENT_READ, child.output)
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
    child.peak_bytes = max(child.peak_bytes, _resident_bytes(child.process.pid))
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
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, signal.SIGKILL)
    for pid in _marked(child.mark):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    child.process.wait()
    os.close(child.answer_fd)
    if child.process.stdout is not None:
        child.process.stdout.close()


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
