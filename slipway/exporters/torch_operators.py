"""PyTorch operators that the dynamo exporter of torch 2.13 has no ONNX for, or a wrong one.

One function and one line of the table each; a function takes the operator's arguments and writes
ONNX's own operators.
"""

from collections.abc import Callable
from typing import Any, Final

import onnxscript
import torch

from slipway.errors import ExportFailed
from slipway.exporters.torch_attention import attention
from slipway.exporters.torch_pools import (
    adaptive_average,
    adaptive_maximum,
    average_2d,
    average_3d,
)

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


_aten: Final = torch.ops.aten
TRANSLATIONS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    _aten.rrelu.default: _rrelu,
    _aten.scaled_dot_product_attention.default: attention,
    _aten._adaptive_avg_pool2d.default: adaptive_average,  # noqa: SLF001 - aten's own name
    _aten._adaptive_avg_pool3d.default: adaptive_average,  # noqa: SLF001
    _aten.adaptive_max_pool2d.default: adaptive_maximum,
    _aten.adaptive_max_pool3d.default: adaptive_maximum,
    _aten.avg_pool2d.default: average_2d,
    _aten.avg_pool3d.default: average_3d,
}
