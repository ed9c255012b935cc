"""Execution providers: one file and one line of the table each.

`sessions.open_session` makes an onnxruntime session for a provider; `signature` reads what a model
takes and gives. onnxruntime is imported inside the functions that need it.
"""

import os
from typing import Final

PROVIDERS: Final[dict[str, str]] = {
    "cpu": "CPUExecutionProvider",
}


def allotted_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))
