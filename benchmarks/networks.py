"""Networks to measure on, with random weights: a ResNet-50, a MobileNet and an encoder.

Their shapes are those of the published ones; activations stay of order one, as in trained networks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from slipway.samples.arrays import Array

IMAGE = ("batch", 3, 224, 224)
TOKENS, WIDTH, HEADS, LAYERS = 128, 384, 6, 6
TOKEN_SHAPE = ("batch", TOKENS, WIDTH)


class Graph:
    """Nodes and weights, added one after the other."""

    def __init__(self) -> None:
        """Empty."""
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401 - as make_node
        """A node; its output's name comes back."""
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n_{name}", **attributes))
        return name

    def weight(self, *shape: int, scale: float) -> str:
        """Normally distributed weights."""
        return self.constant(self._random.standard_normal(shape).astype(np.float32) * scale)

    def constant(self, values: Array) -> str:
        """Given values."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, given: int, made: int, size: int, *, stride: int = 1, group: int = 1,
        gain: float = 2.0,
    ) -> str:  # fmt: skip
        """A convolution that keeps the scale of its input."""
        fan = given // group * size * size
        return self.add(
            "Conv",
            x,
            self.weight(made, given // group, size, size, scale=(gain / fan) ** 0.5),
            self.weight(made, scale=0.05),
            strides=[stride, stride],
            pads=[size // 2] * 4,
            kernel_shape=[size, size],
            group=group,
        )

    def dense(self, x: str, given: int, made: int) -> str:
        """A MatMul and an Add."""
        product = self.add("MatMul", x, self.weight(given, made, scale=given**-0.5))
        return self.add("Add", product, self.weight(made, scale=0.02))

    def model(
        self, output: str, made: tuple[str | int, ...], given: str, shape: tuple[str | int, ...]
    ) -> onnx.ModelProto:
        """The model, from an output and its shape, an input and its shape."""
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, made)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _classifier(graph: Graph, x: str, width: int) -> onnx.ModelProto:
    x = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    return graph.model(graph.dense(x, width, 1000), ("batch", 1000), "image", IMAGE)


def resnet50() -> onnx.ModelProto:
    """Bottleneck blocks of 3, 4, 6 and 3; batch normalisation folded."""
    graph = Graph()
    x = graph.add("Relu", graph.conv("image", 3, 64, 7, stride=2))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for inner, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            y = graph.add("Relu", graph.conv(x, width, inner, 1))
            y = graph.add("Relu", graph.conv(y, inner, inner, 3, stride=step))
            y = graph.conv(y, inner, 4 * inner, 1, gain=0.2)
            if block == 0:
                x = graph.conv(x, width, 4 * inner, 1, stride=step, gain=1.0)
            x = graph.add("Relu", graph.add("Add", x, y))
            width = 4 * inner
    return _classifier(graph, x, width)


def mobilenet() -> onnx.ModelProto:
    """MobileNetV2's inverted residuals, with its Clip to 6."""
    graph = Graph()
    zero, six = (graph.constant(np.array(value, np.float32)) for value in (0, 6))

    def clipped(x: str) -> str:
        return graph.add("Clip", x, zero, six)

    x = clipped(graph.conv("image", 3, 32, 3, stride=2))
    width = 32
    for expand, made, blocks, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
        (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(blocks):
            step, inner = (stride if block == 0 else 1), width * expand
            y = clipped(graph.conv(x, width, inner, 1)) if expand > 1 else x
            y = clipped(graph.conv(y, inner, inner, 3, stride=step, group=inner))
            y = graph.conv(y, inner, made, 1, gain=1.0)
            x = graph.add("Add", x, y) if step == 1 and width == made else y
            width = made
    return _classifier(graph, clipped(graph.conv(x, width, 1280, 1)), 1280)


def encoder() -> onnx.ModelProto:
    """Six layers of attention and GELU over 128 vectors of 384 numbers."""
    graph = Graph()
    head = WIDTH // HEADS
    split = graph.constant(np.array([0, TOKENS, HEADS, head], np.int64))
    joined = graph.constant(np.array([0, TOKENS, WIDTH], np.int64))
    root = graph.constant(np.array(head**-0.5, np.float32))

    def normed(x: str) -> str:
        ones, zeros = (graph.constant(np.full(WIDTH, v, np.float32)) for v in (1, 0))
        return graph.add("LayerNormalization", x, ones, zeros, axis=-1)

    def heads(x: str, order: list[int]) -> str:
        x = graph.add("Reshape", graph.dense(x, WIDTH, WIDTH), split)
        return graph.add("Transpose", x, perm=order)

    x = "embedded"
    for _ in range(LAYERS):
        query, key = heads(x, [0, 2, 1, 3]), heads(x, [0, 2, 3, 1])
        value = heads(x, [0, 2, 1, 3])
        scores = graph.add("Mul", graph.add("MatMul", query, key), root)
        mixed = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
        mixed = graph.add("Reshape", graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = normed(graph.add("Add", x, graph.dense(mixed, WIDTH, WIDTH)))
        wide = graph.dense(x, WIDTH, 4 * WIDTH)
        gate = graph.add("Sigmoid", wide)
        x = normed(graph.add("Add", x, graph.dense(graph.add("Mul", wide, gate), 4 * WIDTH, WIDTH)))
    return graph.model(x, TOKEN_SHAPE, "embedded", TOKEN_SHAPE)


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "resnet50": resnet50,
    "mobilenet": mobilenet,
    "encoder": encoder,
}


def write_samples(path: Path, name: str, count: int) -> None:
    """Inputs for a network as one .npy, written piece by piece: smooth images with noise."""
    shape = (count, TOKENS, WIDTH) if name == "encoder" else (count, *IMAGE[1:])
    random = np.random.default_rng(1)
    stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    for number in range(count):
        stored[number] = random.standard_normal(shape[1:], np.float32)
        if name != "encoder":
            coarse = random.standard_normal((3, 7, 7), np.float32)
            stored[number] *= 0.3
            stored[number] += coarse.repeat(32, axis=1).repeat(32, axis=2)
    stored.flush()
