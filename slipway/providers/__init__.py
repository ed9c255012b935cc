"""Execution providers: one file and one line of the table each.

`sessions.open_session` makes an onnxruntime session for a provider; `signature` reads what a model
takes and gives. onnxruntime is imported inside the functions that need it.
"""

from typing import Final

PROVIDERS: Final[dict[str, str]] = {
    "cpu": "CPUExecutionProvider",
}
