"""PyTorch operators that the dynamo exporter of torch 2.13 has no ONNX for, written in ONNX's own.

One function and one line of the table each; a function takes the operator's arguments.
"""

from collections.abc import Callable
from typing import Any, Final

import onnxscript
import torch

from slipway.errors import ExportFailed

_op: Final = onnxscript.opset18


def _rrelu(
    x: Any,  # noqa: ANN401 - onnxscript ships no types
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    generator: object = None,  # noqa: ARG001
) -> Any:  # noqa: ANN401
    """Outside training, the slope is the mean of the two that it is drawn between."""
    if training:
        raise ExportFailed(
            "the program draws random slopes (RReLU in training mode): call model.eval() before "
            "torch.export.export",
            facts={"kind": "training-mode"},
        )
    return _op.LeakyRelu(x, alpha=(lower + upper) / 2)


TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.ops.aten.rrelu.default: _rrelu,
}
