"""The sign bit of floats, which Keras 3.15 reads as whole numbers: in ops.argmax and ops.signbit.

tf2onnx 1.17 leaves the Bitcast in the graph, and ONNX has one from opset 26 on only.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx


def read_signs(graph: Any, node: Any, name: str, _: Any) -> None:  # noqa: ANN401 - tf2onnx ships no types
    """Rewrite one Bitcast of which nobody reads more than the sign bit.

    That bit alone stands for every number that has it, nought for the others; -0.0 is told by its
    reciprocal. Any other Bitcast is left, and refused by its name.
    """
    readers = graph.find_output_consumers(node.output[0])
    asks = all(_asks_for_signs(reader, node.output[0]) for reader in readers)
    types = graph.get_dtype(node.input[0]), graph.get_dtype(node.output[0])
    if not readers or not asks or types != (onnx.TensorProto.FLOAT, onnx.TensorProto.INT32):
        return
    given, outputs = node.input[0], list(node.output)
    shapes, dtypes = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    nought = graph.make_const(f"{name}/nought", np.zeros((), np.float32)).output[0]
    inverse = graph.make_node("Reciprocal", [given]).output[0]
    below = [graph.make_node("Less", [it, nought]).output[0] for it in (given, inverse)]
    numbers = [
        graph.make_const(f"{name}/{word}", np.array(number, np.int32)).output[0]
        for word, number in (("set", _SIGN_BIT), ("unset", 0))
    ]
    graph.make_node(
        "Where",
        [graph.make_node("Or", below).output[0], *numbers],
        name=name,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
    )


def _asks_for_signs(reader: Any, bits: str) -> bool:  # noqa: ANN401
    """Whether a node masks the bits with the sign's, or asks whether they are below nought."""
    if reader.input[0] != bits or not reader.inputs[1].is_const():
        return False
    constant = reader.inputs[1].get_tensor_value(as_list=False)
    wanted = {"BitwiseAnd": _SIGN_BIT, "Less": 0}.get(reader.type)
    return wanted is not None and bool(np.all(constant == wanted))


_SIGN_BIT: Final = -(2**31)
HANDLERS: Final[dict[str, tuple[Callable[..., None], list[str]]]] = {"Bitcast": (read_signs, [])}
"""By operator, as tf2onnx takes what is to convert it."""
