"""Small ONNX models whose graphs stand as text; weights come from a seed."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from slipway.samples.arrays import Array

CNN = """
<ir_version: 10, opset_import: ["" : 18]>
cnn (float[batch, 1, 8, 8] image) => (float[batch, 10] scores) {
    c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, conv1_weight, conv1_bias)
    r1 = Relu (c1)
    p1 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r1)
    c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (p1, conv2_weight, conv2_bias)
    r2 = Relu (c2)
    g = GlobalAveragePool (r2)
    f = Flatten (g)
    scores = Gemm <transB = 1> (f, head_weight, head_bias)
}
"""
CNN_WEIGHTS = {
    "conv1_weight": (8, 1, 3, 3),
    "conv1_bias": (8,),
    "conv2_weight": (16, 8, 3, 3),
    "conv2_bias": (16,),
    "head_weight": (10, 16),
    "head_bias": (10,),
}

MLP = """
<ir_version: 10, opset_import: ["" : 18]>
mlp (float[batch, 16] x) => (float[batch, 4] y) {
    h = Gemm <transB = 1> (x, weight1, bias1)
    a = Relu (h)
    m = MatMul (a, weight2)
    y = Add (m, bias2)
}
"""
MLP_WEIGHTS = {"weight1": (32, 16), "bias1": (32,), "weight2": (32, 4), "bias2": (4,)}

ATTENTION = """
<ir_version: 10, opset_import: ["" : 18]>
attention (float[batch, seq, 16] x, float[batch, seq] mask) => (float[batch, seq, 16] y)
<float lowest = {-3.4028234663852886e38}, float one = {1.0}, int64[1] axis = {1}>
{
    q = MatMul (x, query)
    k = MatMul (x, key)
    v = MatMul (x, value)
    kt = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, kt)
    hidden = Sub (one, mask)
    penalty = Mul (hidden, lowest)
    wide = Unsqueeze (penalty, axis)
    masked = Add (s, wide)
    p = Softmax <axis = -1> (masked)
    o = MatMul (p, v)
    y = MatMul (o, out)
}
"""
ATTENTION_WEIGHTS: dict[str, tuple[int, ...]] = {
    "query": (16, 16),
    "key": (16, 16),
    "value": (16, 16),
    "out": (16, 16),
}

RELU = """
<ir_version: 10, opset_import: ["" : 18]>
relu (float[batch, 4] x) => (float[batch, 4] y) { y = Relu (x) }
"""

TREES = """
<ir_version: 10, opset_import: ["" : 18, "ai.onnx.ml" : 3]>
trees (float[batch, 1] x) => (float[batch, 1] y) {
    y = ai.onnx.ml.TreeEnsembleRegressor <
        n_targets = 1, nodes_treeids = [0, 0, 0], nodes_nodeids = [0, 1, 2],
        nodes_featureids = [0, 0, 0], nodes_values = [0.5, 0.0, 0.0],
        nodes_modes = ["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids = [1, 0, 0],
        nodes_falsenodeids = [2, 0, 0], target_ids = [0, 0], target_nodeids = [1, 2],
        target_treeids = [0, 0], target_weights = [1.0, 2.0]
    > (x)
}
"""


def with_weights(
    text: str, shapes: dict[str, tuple[int, ...]] | None = None, *, seed: int = 0
) -> onnx.ModelProto:
    """Parse a graph and give it random weights, scaled to keep activations near one."""
    model = parser.parse_model(text)
    random = np.random.default_rng(seed)
    for name, shape in (shapes or {}).items():
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
        values = random.standard_normal(shape).astype(np.float32) / np.float32(fan_in**0.5)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def cnn() -> onnx.ModelProto:
    return with_weights(CNN, CNN_WEIGHTS)


def mlp() -> onnx.ModelProto:
    return with_weights(MLP, MLP_WEIGHTS)


def attention() -> onnx.ModelProto:
    return with_weights(ATTENTION, ATTENTION_WEIGHTS)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    onnx.save_model(model, path)
    return path


def replace_weight(model: onnx.ModelProto, name: str, values: Array) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def weight(model: onnx.ModelProto, name: str) -> Array:
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)).copy()
