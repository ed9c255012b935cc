"""A function's answer from a process of its own, which starts without any onnxruntime in it.

The caller has not imported onnxruntime, so that each fork loads the library and makes its threads
itself: as fresh as a new interpreter (two sessions of one model differ as much in either, measured)
for a tenth of the start-up.
"""

import gc
import json
import os
import signal
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from slipway.errors import ChildCrashed, ChildFailed, ChildOutOfMemory, SlipwayError, error_classes
from slipway.isolation.sandbox import die_with_parent

Answer = TypeVar("Answer", bound=BaseModel)


def in_process(work: Callable[[], Answer], *, returns: type[Answer], what: str) -> Answer:
    """Run `work` in a fork and give what it returned; an error of the house keeps its type.

    Raises:
        ChildCrashed: when it died of a signal or gave no answer.
        ChildFailed: an exception that nobody foresaw.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _answer(work, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not data:
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        raise ChildCrashed(f"{what} crashed ({how}); the model or the provider is at fault")
    answer = json.loads(data)
    if "error" in answer:
        raise error_classes().get(answer["error"], ChildFailed)(answer["message"])
    return returns.model_validate_json(answer["result"])


def _answer(work: Callable[[], BaseModel], descriptor: int) -> None:
    """In the fork: work, write the answer, and end without any teardown."""
    die_with_parent()
    gc.freeze()  # what is shared with the parent is gone through, and so copied, by no collection
    try:
        answer = {"result": work().model_dump_json()}
    except SlipwayError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except MemoryError as error:
        answer = {"error": ChildOutOfMemory.__name__, "message": str(error)}
    except BaseException as error:  # noqa: BLE001 - it must not run on in a fork of the caller
        answer = {"error": ChildFailed.__name__, "message": f"{type(error).__name__}: {error}"}
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(json.dumps(answer).encode())
    os._exit(0)
