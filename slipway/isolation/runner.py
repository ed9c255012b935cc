"""The parent's side of isolation: one call that runs a function in a child and gives its answer.

A segfault, a hang or an out-of-memory becomes a clear error of the caller; the caller's process
goes on. `starting` makes the child, `supervision` watches it.
"""

import json
import logging
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel

from slipway.errors import ChildCrashed, ChildFailed, error_classes
from slipway.isolation.starting import GUEST_PACKAGES, PACKAGE, fork, nursery_with, start
from slipway.isolation.supervision import Child, Limits, end, out_of_memory, watch

__all__ = ["GUEST_PACKAGES", "Limits", "run_isolated"]

logger = logging.getLogger(__name__)

Result = TypeVar("Result", bound=BaseModel)

_OUT_OF_MEMORY_SIGNS: Final = (
    *(b"bad_alloc", b"MemoryError", b"allocate memory", b"out of memory"),
    b"OpenBLAS error: Memory allocation",
)


def run_isolated(  # noqa: PLR0913 - what decides a child, each by its name
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
    look: Callable[[], None] | None = None,
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
        look: Called again and again while the child works, to see what it leaves in `scratch`.

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
        "reads": [str(path.resolve()) for path in (*reads, *([PACKAGE] if python else []))],
        "memory_limit_bytes": limits.memory_limit_bytes,
    }
    started = time.monotonic()
    temporary = scratch / ".tmp"
    temporary.mkdir(exist_ok=True)
    nursery = nursery_with(tuple(preload)) if preload and python is None else None
    child = (
        fork(nursery, order, limits)
        if nursery is not None
        else start(order, temporary, python, limits)
    )
    try:
        watch(child, what, look)
        code = child.wait()
        child.ended = True
    finally:
        end(child)
    logger.debug(
        "%s took %.1f s, peak %d MiB", what, time.monotonic() - started, child.peak_bytes >> 20
    )
    return returns.model_validate_json(_open_answer(child, code, what))


def _open_answer(child: Child, code: int, what: str) -> str:
    if not child.answer:
        if any(sign in child.output for sign in _OUT_OF_MEMORY_SIGNS):
            raise out_of_memory(child, what)
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
        raise out_of_memory(child, what, f"; {message}" if message else "")
    if kind in error_classes():
        raise error_classes()[kind](message, facts=_facts(answer["error"].get("facts")))
    raise ChildFailed(f"{what} failed: {message}{child.tail()}")


def _facts(given: object) -> dict[str, str | int]:
    """A child's facts, as far as they are any: it may be under a model's control."""
    pairs = given.items() if isinstance(given, dict) else ()
    return {str(name): value for name, value in pairs if isinstance(value, str | int)}
