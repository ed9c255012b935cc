"""Networks that classify real digits: the example's CNN, and large ones with a head fitted to them.

Of the ResNet-50, the MobileNet and the encoder only the last layer is trained, by ridge regression
on what the network with its random weights makes of scikit-learn's 1,797 digits: enough for a
metric that an error inside can spoil. Activations are those of random weights.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from sklearn.datasets import load_digits

from benchmarks.networks import NETWORKS, TOKENS, WIDTH
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, Samples, save_npz

ROOT = Path(__file__).parents[1]
TRAINING, CALIBRATION, EVALUATION = 500, 128, 300
CLASSES = 10
BATCH = 4
# Of the mean variance of the features: what keeps weights from fitting noise.
RIDGE = 0.3


@dataclass(frozen=True)
class Trained:
    """A float model, samples for its calibration, and others with labels."""

    model: Path
    calibration: Path
    evaluation: Path


def digits_cnn(folder: Path) -> Trained:
    """The example's CNN, trained and exported as a release does it."""
    from slipway.specs import load_spec
    from slipway.stages.exporting import export_to_folder

    here = folder / "example"
    shutil.copytree(ROOT / "examples/digits-cnn", here, ignore=shutil.ignore_patterns("out"))
    subprocess.run([sys.executable, str(here / "train.py")], check=True, capture_output=True)
    exported = export_to_folder(load_spec(here / "release.yaml"), folder / "exported")
    return Trained(exported.model, here / "out/calibration.npz", here / "out/evaluation.npz")


def large(name: str, folder: Path) -> Trained:
    """One of `benchmarks.networks` with a head that tells digits apart."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))[: TRAINING + EVALUATION]
    values = _as_tokens(images[order]) if name == "encoder" else _as_images(images[order])
    model = NETWORKS[name]()
    given = model.graph.input[0].name
    body = _without_head(model)
    path = folder / f"{name}-body.onnx"
    onnx.save_model(body, path)
    session = Session(path)
    parts = [session.run({given: batch.arrays[given]})["features"]
             for batch in Samples({given: values}).batches(BATCH)]  # fmt: skip
    features = np.concatenate(parts).astype(np.float64)
    weight, bias = _ridge(features[:TRAINING], labels[order][:TRAINING])
    _add_head(body, weight, bias)
    onnx.save_model(body, folder / f"{name}.onnx")
    save_npz(folder / "calibration.npz", {given: values[:CALIBRATION]})
    held_out = {given: values[TRAINING:], "label": labels[order][TRAINING:].astype(np.int64)}
    save_npz(folder / "evaluation.npz", held_out)
    return Trained(folder / f"{name}.onnx", folder / "calibration.npz", folder / "evaluation.npz")


def _as_images(digits: Array) -> Array:
    """8x8 greys as [digits, 3, 224, 224], every pixel a square of 28."""
    grey = (digits.reshape(-1, 8, 8) / 8 - 1).astype(np.float32)
    wide = grey.repeat(28, axis=1).repeat(28, axis=2)[:, np.newaxis]
    coloured: Array = wide * np.array([1.0, 0.8, -0.6], np.float32).reshape(1, 3, 1, 1)
    return coloured


def _as_tokens(digits: Array) -> Array:
    """Each pixel twice, as a vector of its place and one of its grey."""
    random = np.random.default_rng(2)
    places, greys = random.standard_normal((2, TOKENS, WIDTH)).astype(np.float32)
    pixels = (digits / 8 - 1).astype(np.float32).repeat(TOKENS // digits.shape[1], axis=1)
    tokens: Array = places + pixels[:, :, np.newaxis] * greys
    return tokens


def _without_head(model: onnx.ModelProto) -> onnx.ModelProto:
    """Up to what the last layer reads, or the mean of an encoder's tokens, as `features`."""
    graph = model.graph
    if graph.node[-1].op_type == "Add":  # a classifier: MatMul and Add behind the pooling
        product = graph.node[-2]
        source = product.input[0]
        del graph.node[-2:]
        graph.node.append(helper.make_node("Identity", [source], ["features"]))
    else:
        graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "tokens"))
        read = [graph.output[0].name, "tokens"]
        graph.node.append(helper.make_node("ReduceMean", read, ["features"], keepdims=0))
    del graph.output[:]
    made = helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["batch", None])
    graph.output.append(made)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def _ridge(features: Array, labels: Array) -> tuple[Array, Array]:
    """The weight and bias of a linear classifier, in closed form."""
    mean = features.mean(axis=0)
    centred = features - mean
    wanted = np.eye(CLASSES)[labels] - 1 / CLASSES
    spread = centred.T @ centred
    spread += np.eye(len(spread)) * (np.trace(spread) / len(spread) * RIDGE)
    weight = np.linalg.solve(spread, centred.T @ wanted)
    return weight.astype(np.float32), (1 / CLASSES - mean @ weight).astype(np.float32)


def _add_head(model: onnx.ModelProto, weight: Array, bias: Array) -> None:
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(weight, "head_weight"))
    graph.initializer.append(numpy_helper.from_array(bias, "head_bias"))
    given = ["features", "head_weight", "head_bias"]
    graph.node.append(helper.make_node("Gemm", given, ["scores"], "head"))
    del graph.output[:]
    made = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["batch", CLASSES])
    graph.output.append(made)


TRAINED: dict[str, Callable[[Path], Trained]] = {
    "resnet50": lambda folder: large("resnet50", folder),
    "mobilenet": lambda folder: large("mobilenet", folder),
    "encoder": lambda folder: large("encoder", folder),
    "digits-cnn": digits_cnn,
}
