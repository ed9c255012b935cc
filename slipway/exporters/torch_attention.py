"""PyTorch's attention in ONNX: as torch.onnx writes it, and right where all is masked.

It is written in parts at every opset: onnxruntime takes no mask that is one for all queries for
ONNX's operator of opset 23, and the converter to later opsets knows nothing of that operator.
"""

import math
from typing import Any, Final

import onnxscript
from onnxscript import ir
from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

_op: Final[Any] = onnxscript.opset18  # its types know nothing of plain numbers and lists
_RANK: Final = 4


def attention(
    query: Any,  # noqa: ANN401 - onnxscript ships no types
    key: Any,  # noqa: ANN401
    value: Any,  # noqa: ANN401
    attn_mask: Any = None,  # noqa: ANN401
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:  # noqa: ANN401
    """`scaled_dot_product_attention`, with heads or without."""
    missing = range(_RANK - len(query.shape))
    found = aten_scaled_dot_product_attention(
        *(_widened(tensor, len(missing)) for tensor in (query, key, value)),
        attn_mask,
        dropout_p,
        is_causal,
        scale,
        enable_gqa,
    )
    if attn_mask is not None:
        zero = _op.Constant(value=ir.tensor(0.0, dtype=query.dtype))
        found = _op.Where(_sees_nothing(attn_mask), zero, found)
    return _op.Squeeze(found, list(missing)) if missing else found


def _sees_nothing(mask: Any) -> Any:  # noqa: ANN401
    """Places from which all is masked: PyTorch attends to nothing there.

    A plain softmax gives NaN for them, or the mean of what is masked.
    """
    if mask.dtype == ir.DataType.BOOL:
        mask = _op.Cast(mask, to=ir.DataType.INT32)
        nothing = _op.Constant(value=ir.tensor(0, dtype=ir.DataType.INT32))
    else:
        nothing = _op.Constant(value=ir.tensor(-math.inf, dtype=mask.dtype))
    return _op.Equal(_op.ReduceMax(mask, [-1], keepdims=1), nothing)


def _widened(tensor: Any, missing: int) -> Any:  # noqa: ANN401
    """A tensor with the four dimensions that torch.onnx has attention for."""
    if missing <= 0:
        return tensor
    made = _op.Unsqueeze(tensor, list(range(missing)))
    made.dtype, made.shape = tensor.dtype, ir.Shape([1] * missing + list(tensor.shape))
    return made
