"""Tiny SavedModels, and hostile ones made from them.

Imported only where TensorFlow is installed.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from slipway.exporters.tensorflow_runtime import saved_model_message, tf


class Regression(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types
    """Two inputs, two outputs; trained for a few steps."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.random.stateless_normal((4, 3), seed=(0, 1)))
        self.bias = tf.Variable(tf.zeros(3))

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, 4], name="x"), tf.TensorSpec([None, 4], name="a")]
    )
    def __call__(self, x: Any, y: Any) -> dict[str, Any]:
        scores = tf.matmul(x - 2.0 * y, self.weight) + self.bias
        return {"scores": scores, "best": tf.argmax(scores, 1)}


def trained() -> Regression:
    model = Regression()
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.random((32, 4), np.float32)) for _ in range(2))
    for _ in range(5):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x, y)["scores"] - 1.0) ** 2)
        for variable, gradient in zip(
            model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
        ):
            variable.assign_sub(0.05 * gradient)
    return model


def save(model: Any, folder: Path, *, signature: Any = None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tf.saved_model.save(model, str(folder), signatures=signature)
    return folder


def save_function(body: Any, folder: Path, *, dtype: Any = tf.float32) -> Path:
    """A SavedModel of one function from (batch, 4) to whatever `body` makes of it."""
    module = tf.Module()
    module.serve = tf.function(
        body, input_signature=[tf.TensorSpec([None, 4], dtype, name="x")], autograph=False
    )
    return save(module, folder, signature=module.serve)


def edit(folder: Path, change: Any) -> Path:
    """Change a SavedModel's message in place."""
    message = saved_model_message()
    message.ParseFromString((folder / "saved_model.pb").read_bytes())
    change(message.meta_graphs[0])
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    return folder
