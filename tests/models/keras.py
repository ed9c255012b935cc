"""Tiny Keras models, trained for a few steps, and the files that they are saved in.

Imported only where TensorFlow is installed.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from slipway.exporters.tensorflow_runtime import tf

import keras  # isort: skip - tensorflow_runtime sets which backend it reads

FACTORY = """
import keras


class Pair(keras.Model):
    def __init__(self, width=6):
        super().__init__()
        self.left = keras.layers.Dense(width, activation="relu")
        self.right = keras.layers.Dense(width)
        self.head = keras.layers.Dense(2)

    def call(self, x, y):
        hidden = self.left(x) + self.right(y)
        return {"scores": self.head(hidden), "hidden": hidden}


def build(width=6):
    return Pair(width)
"""


def sequential() -> Any:
    """Images, NHWC, through a normalization whose constants are adapted, to three classes."""
    keras.utils.set_random_seed(0)
    normalization = keras.layers.Normalization(mean=0.5, variance=2.0)
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3), name="image"),
            normalization,
            keras.layers.Conv2D(4, 3, strides=2, activation="gelu"),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    x = np.random.default_rng(0).random((48, 8, 6, 3), dtype=np.float32)
    return _fit(model, x, x.mean((1, 2)).argmax(1))


def functional() -> Any:
    """A dict of numbers and tokens of any length, which a loop reads, to two heads."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int64", name="tokens")
    numbers = keras.Input((4,), name="numbers")
    read = keras.layers.GRU(4)(keras.layers.Embedding(10, 4, mask_zero=True)(tokens))
    joined = keras.layers.Concatenate()([read, keras.layers.Dense(3, "celu")(numbers)])
    heads = {
        "sum": keras.layers.Dense(1, name="sum")(joined),
        "kind": keras.layers.Dense(2, activation="softmax", name="kind")(joined),
    }
    model = keras.Model({"tokens": tokens, "numbers": numbers}, heads)
    random = np.random.default_rng(0)
    numbers_given = random.random((48, 4), np.float32)
    x = {"tokens": random.integers(0, 10, (48, 5)), "numbers": numbers_given}
    total = numbers_given.sum(1, keepdims=True)
    model.compile(loss={"sum": "mse", "kind": "sparse_categorical_crossentropy"})
    return _train(model, x, {"sum": total, "kind": (total > 2).astype(int)})


def subclassed(factory: Path) -> Any:
    """What `FACTORY` builds, trained to tell the larger of two sums."""
    keras.utils.set_random_seed(0)
    factory.write_text(FACTORY, encoding="utf-8")
    namespace: dict[str, Any] = {"__name__": "factory"}
    exec(compile(FACTORY, str(factory), "exec"), namespace)  # noqa: S102 - the text above
    model = namespace["build"]()
    random = np.random.default_rng(0)
    x, y = (tf.constant(random.random((48, 5), np.float32)) for _ in range(2))
    label = tf.cast(tf.reduce_sum(x - y, 1) > 0, tf.int32)
    optimizer = keras.optimizers.Adam(0.05)
    for _ in range(5):
        with tf.GradientTape() as tape:
            scores = model(x, y)["scores"]
            loss = keras.losses.sparse_categorical_crossentropy(label, scores, from_logits=True)
        gradients = tape.gradient(loss, model.trainable_weights)
        optimizer.apply(gradients, model.trainable_weights)
    return model


def save(model: Any, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (model.save_weights if path.name.endswith(".weights.h5") else model.save)(path)
    return path


def _fit(model: Any, x: Any, y: Any) -> Any:
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    return _train(model, x, y)


def _train(model: Any, x: Any, y: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    return model
