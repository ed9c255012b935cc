"""Train a regression in plain TensorFlow on scikit-learn's diabetes data; save a SavedModel.

Writes out/saved_model/ and two files of patients that no two share.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

OUT = Path(__file__).parent / "out"
STEPS = 400


class Progression(tf.Module):
    """Two dense layers, ten measurements to the disease's progression after a year."""

    def __init__(self, columns: int, mean: float, deviation: float) -> None:
        """Start from random weights with a fixed seed."""
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.hidden = tf.Variable(tf.random.stateless_normal((columns, 16), (0, 1)) * 2.0)
        self.bias = tf.Variable(tf.zeros(16))
        self.last = tf.Variable(tf.random.stateless_normal((16, 1), (0, 2)) * 0.2)

    @tf.function(input_signature=[tf.TensorSpec([None, 10], name="measurements")])
    def predict(self, measurements: tf.Tensor) -> dict[str, tf.Tensor]:
        """Rows of ten measurements to rows of one number."""
        hidden = tf.nn.tanh(measurements @ self.hidden + self.bias)
        return {"progression": hidden @ self.last * self.deviation + self.mean}


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    x, y = load_diabetes(return_X_y=True)
    x, y = x.astype(np.float32), y.astype(np.float32)[:, np.newaxis]
    fit_x, test_x, fit_y, test_y = train_test_split(x, y, test_size=0.3, random_state=0)
    model = Progression(x.shape[1], float(fit_y.mean()), float(fit_y.std()))
    rate = 0.03
    for _ in range(STEPS):
        with tf.GradientTape() as tape:
            error = (model.predict(fit_x)["progression"] - fit_y) / model.deviation
            loss = tf.reduce_mean(error**2)
        variables = model.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(rate * gradient)
    tf.saved_model.save(model, str(OUT / "saved_model"), signatures=model.predict)
    np.savez(OUT / "golden.npz", measurements=fit_x[:64])
    np.savez(OUT / "evaluation.npz", measurements=test_x, progression=test_y)
    error = model.predict(test_x)["progression"].numpy() - test_y
    print(f"trained on {len(fit_x)} patients, RMSE {np.sqrt((error**2).mean()):.1f}: {OUT}")


if __name__ == "__main__":
    main()
