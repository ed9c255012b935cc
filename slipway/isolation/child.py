"""What an isolated child does: take rights away, call one function, answer.

Started by `runner` as a program of its own, or forked by `nursery`; either way with a JSON order to
read and a descriptor for the answer. Only functions inside `slipway` are called, with a request of
the type that they declare.
"""

import errno
import gc
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


def main() -> typing.NoReturn:
    """Run as a program: the order is on standard input, the answer's descriptor an argument."""
    sandbox.die_with_parent()
    status = serve(json.loads(sys.stdin.buffer.read()), int(sys.argv[1]))
    end_as(status)


def serve(order: dict[str, typing.Any], answer_fd: int) -> int:
    """Run the order in a process of its own and wait for it; its wait status comes back.

    The process namespace holds from the first fork on: the inner process is its first one, and
    whatever it starts dies with it, whatever session it moved to.
    """
    protections: dict[str, int | bool] = dict(sandbox.leave_namespaces())
    inner = os.fork()
    if inner == 0:
        _work(order, answer_fd, protections)
    os.close(answer_fd)
    return os.waitpid(inner, 0)[1]


def end_as(status: int) -> typing.NoReturn:
    """End this process as the one whose wait status this is ended."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _work(
    order: dict[str, typing.Any], answer_fd: int, protections: dict[str, int | bool]
) -> typing.NoReturn:
    sandbox.die_with_parent()
    # Importing torch and exporting are a fifth cheaper when their objects are not gone through
    # again and again; a child ends with its work, so cycles wait until there are many.
    gc.set_threshold(1_000_000, 20, 20)
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


def _call(name: str, request: str, scratch: Path) -> dict[str, typing.Any]:
    """Call `module:function` and put its result, or its error, into an answer."""
    from slipway.errors import SlipwayError, os_failure

    try:
        function = _find(name)
        hints = typing.get_type_hints(function)
        result = function(hints["request"].model_validate_json(request), scratch)
        return {"result": result.model_dump_json()}
    except SlipwayError as error:
        told = {"type": type(error).__name__, "message": str(error), "facts": error.facts}
        return {"error": told}
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
    main()
