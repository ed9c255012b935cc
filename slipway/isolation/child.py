"""The program that runs in an isolated child: take rights away, call one function, answer.

Started by `runner` with a JSON order on standard input and an inherited descriptor for the answer.
Only functions inside `slipway` are called, with a request of the type that they declare.
"""

import errno
import importlib
import json
import os
import signal
import sys
import typing
from pathlib import Path

from slipway.isolation import sandbox

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUT_OF_MEMORY_SIGNS = ("allocate memory", "bad_alloc", "Unable to allocate", "out of memory")


def main() -> int:
    """Run the order and answer; always 0 unless the process dies, which the runner sees."""
    answer_fd = int(sys.argv[1])
    sandbox.die_with_parent()
    order = json.loads(sys.stdin.buffer.read())
    protections: dict[str, int | bool] = dict(sandbox.leave_namespaces())
    # The process namespace holds from the first fork on: the inner process is its first one, and
    # whatever it starts dies with it, whatever session it moved to.
    inner = os.fork()
    if inner:
        return _relay(inner, answer_fd)
    sandbox.die_with_parent()
    scratch = Path(order["scratch"])
    os.chdir(scratch)
    sandbox.limit_memory(order["memory_limit_bytes"])
    protections["landlock"] = sandbox.restrict_files(
        [*order["reads"], scratch.parent], [scratch, os.environ["TMPDIR"]]
    )
    answer = _call(order["function"], order["request"], scratch)
    answer["protections"] = protections
    with os.fdopen(answer_fd, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    sys.stdout.flush()
    sys.stderr.flush()
    # Skip the interpreter's and the frameworks' teardown: the answer is given, threads of native
    # libraries have crashed here, and it costs time.
    os._exit(0)


def _relay(inner: int, answer_fd: int) -> int:
    """Wait for the inner process and end as it ended."""
    os.close(answer_fd)
    _, status = os.waitpid(inner, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _call(name: str, request: str, scratch: Path) -> dict[str, typing.Any]:
    """Call `module:function` and put its result, or its error, into an answer."""
    from slipway.errors import SlipwayError, os_failure

    try:
        function = _find(name)
        hints = typing.get_type_hints(function)
        result = function(hints["request"].model_validate_json(request), scratch)
        return {"result": result.model_dump_json()}
    except SlipwayError as error:
        return {"error": {"type": type(error).__name__, "message": str(error)}}
    except OSError as error:
        if error.errno not in _NO_SPACE:
            return _unforeseen(error)
        failure = os_failure(error, f"writing {error.filename or scratch}")
        return {"error": {"type": type(failure).__name__, "message": str(failure)}}
    except MemoryError as error:
        return {"error": {"type": "ChildOutOfMemory", "message": str(error)}}
    except Exception as error:  # noqa: BLE001 - whatever a converter raises becomes an answer
        return _unforeseen(error)


def _unforeseen(error: Exception) -> dict[str, typing.Any]:
    import traceback

    traceback.print_exception(error)
    message = f"{type(error).__name__}: {error}"
    memory = any(sign in message for sign in _OUT_OF_MEMORY_SIGNS)
    return {"error": {"type": "ChildOutOfMemory" if memory else "unexpected", "message": message}}


def _find(name: str) -> typing.Callable[..., typing.Any]:
    module, _, attribute = name.partition(":")
    if module.partition(".")[0] != "slipway":
        raise ValueError(f"{name} is not a function of slipway")
    found = getattr(importlib.import_module(module), attribute)
    return typing.cast("typing.Callable[..., typing.Any]", found)


if __name__ == "__main__":
    sys.exit(main())
