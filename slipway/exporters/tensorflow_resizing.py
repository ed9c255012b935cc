"""Resizing that ONNX's Resize does not do as TensorFlow does, as products with constant matrices.

Both kernels are linear and separable: the answer's rows are sums of rows, its columns sums of
columns. TensorFlow itself tells the weights, by resizing an identity. tf2onnx 1.17 writes
ResizeArea as a nearest one, without a word, and for some sizes ResizeBicubic as what onnxruntime
refuses.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx
from tf2onnx.onnx_opset.nn import Resize

from slipway.exporters.tensorflow_runtime import tf
from slipway.samples.arrays import Array

_SPATIAL: Final = (1, 2)


def resize(graph: Any, node: Any, name: str, _: Any) -> None:  # noqa: ANN401 - tf2onnx ships no types
    """Rewrite one node of tf2onnx's graph; one whose sizes are open is left as it is.

    What is left is refused by its name, save for ResizeBicubic, which tf2onnx then writes.
    """
    sizes = graph.get_shape(node.input[0])
    known = sizes and all(sizes[axis] > 0 for axis in _SPATIAL)
    if not known or not node.inputs[1].is_const():
        if node.type == "ResizeBicubic":
            Resize.version_11(graph, node)
        return
    rows, columns = (_weights(node, axis, sizes[axis]) for axis in _SPATIAL)
    source, outputs = node.input[0], list(node.output)
    shapes, dtypes = node.output_shapes, node.output_dtypes
    if graph.get_dtype(source) != onnx.TensorProto.FLOAT:
        source = graph.make_node("Cast", [source], {"to": onnx.TensorProto.FLOAT}).output[0]
    graph.remove_node(node.name)
    turned = graph.make_node("Transpose", [source], {"perm": [0, 3, 1, 2]})
    tall = graph.make_node(
        "MatMul", [graph.make_const(f"{name}/rows", rows).output[0], turned.output[0]]
    )
    wide = graph.make_node(
        "MatMul", [tall.output[0], graph.make_const(f"{name}/columns", columns.T).output[0]]
    )
    graph.make_node(
        "Transpose",
        wide.output,
        {"perm": [0, 2, 3, 1]},
        name=name,
        outputs=outputs,
        shapes=shapes,
        dtypes=dtypes,
    )


def _weights(node: Any, axis: int, size: int) -> Array:  # noqa: ANN401
    """The matrix (answer's size, size) of one axis: what each place of the source adds to each."""
    wanted = int(node.inputs[1].get_tensor_value(as_list=False)[axis - 1])
    # One place in the other axis, and a channel for each place of the source.
    shape, alone = [1, 1, 1, size], [1, 1]
    shape[axis], alone[axis - 1] = size, wanted
    attributes = {key: bool(node.get_attr_value(key)) for key in _ATTRIBUTES[node.type]}
    # tf2onnx works inside a graph, where nothing has a value before a session runs it.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        identity = np.eye(size, dtype=np.float32).reshape(shape)
        resized = getattr(tf.raw_ops, node.type)(images=identity, size=alone, **attributes)
        weights: Array = session.run(resized).reshape(wanted, size)
    return weights


_ATTRIBUTES: Final = {
    "ResizeArea": ("align_corners",),
    "ResizeBicubic": ("align_corners", "half_pixel_centers"),
}
HANDLERS: Final[dict[str, tuple[Callable[..., None], list[str]]]] = {
    name: (resize, []) for name in _ATTRIBUTES
}
"""By operator, as tf2onnx takes what is to convert it."""
