"""Resizing that ONNX's Resize does not do as TensorFlow does, as products with constant matrices.

All its kernels are linear and separable: the answer's rows are sums of rows, its columns sums of
columns. TensorFlow itself tells the weights, by resizing an identity. tf2onnx 1.17 writes
ResizeArea as a nearest one, without a word, for some sizes ResizeBicubic as what onnxruntime
refuses, and ScaleAndTranslate (the Lanczos kernels, and antialiasing) not at all.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx
from tf2onnx.onnx_opset.nn import Resize

from slipway.exporters.tensorflow_runtime import tf
from slipway.samples.arrays import Array

_SPATIAL: Final = (1, 2)
_SCALE: Final = 2


def resize(graph: Any, node: Any, name: str, _: Any) -> None:  # noqa: ANN401 - tf2onnx ships no types
    """Rewrite one node of tf2onnx's graph; one whose sizes are open is left as it is.

    What is left is refused by its name, save for ResizeBicubic, which tf2onnx then writes.
    """
    sizes = graph.get_shape(node.input[0])
    known = sizes and all(sizes[axis] > 0 for axis in _SPATIAL)
    if not known or not all(_is_constant(node, index) for index in range(1, len(node.input))):
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
    wanted = int(_constant(node, 1)[axis - 1])
    # One place in the other axis, and a channel for each place of the source.
    shape, alone = [1, 1, 1, size], [1, 1]
    shape[axis], alone[axis - 1] = size, wanted
    attributes = _attributes(node, axis, size)
    # tf2onnx works inside a graph, where nothing has a value before a session runs it.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        identity = np.eye(size, dtype=np.float32).reshape(shape)
        resized = getattr(tf.raw_ops, node.type)(images=identity, size=alone, **attributes)
        weights: Array = session.run(resized).reshape(wanted, size)
    return weights


def _attributes(node: Any, axis: int, size: int) -> dict[str, Any]:  # noqa: ANN401
    """What the operator takes beside images and size; the other axis stays as it is."""
    found = {key: node.get_attr_value(key) for key in _ATTRIBUTES[node.type]}
    found = {key: it.decode() if isinstance(it, bytes) else bool(it) for key, it in found.items()}
    if node.type != "ScaleAndTranslate":
        return found
    scale, translation = [1.0, 1.0], [0.0, 0.0]
    if node.inputs[_SCALE].is_const():
        scale[axis - 1] = float(_constant(node, _SCALE)[axis - 1])
    else:
        scale[axis - 1] = float(np.float32(_constant(node, 1)[axis - 1]) / np.float32(size))
    translation[axis - 1] = float(_constant(node, 3)[axis - 1])
    return {**found, "scale": scale, "translation": translation}


def _is_constant(node: Any, index: int) -> bool:  # noqa: ANN401
    """Whether an input is known: by value, or as the scale that tf.image.resize computes.

    It divides the size by the image's own, which TensorFlow folds no more where the batch is open.
    """
    made = node.inputs[index]
    if made.is_const():
        return True
    asked = node.type == "ScaleAndTranslate" and index == _SCALE and made.type == "Div"
    return asked and [it.type for it in _beginnings(made, node.input[0])] == ["Const", "Shape"]


def _beginnings(node: Any, images: str) -> list[Any]:  # noqa: ANN401
    """What the two sides of a division come from, through casts and slices."""
    found = []
    for side in node.inputs:
        while side.type in {"Cast", "StridedSlice", "Slice"}:
            side = side.inputs[0]  # noqa: PLW2901 - one step up
        if side.type == "Shape" and side.input[0] != images:
            return []
        found.append(side)
    return found


def _constant(node: Any, index: int) -> Array:  # noqa: ANN401
    value: Array = node.inputs[index].get_tensor_value(as_list=False)
    return value


_ATTRIBUTES: Final = {
    "ResizeArea": ("align_corners",),
    "ResizeBicubic": ("align_corners", "half_pixel_centers"),
    "ScaleAndTranslate": ("kernel_type", "antialias"),
}
HANDLERS: Final[dict[str, tuple[Callable[..., None], list[str]]]] = {
    name: (resize, []) for name in _ATTRIBUTES
}
"""By operator, as tf2onnx takes what is to convert it."""
