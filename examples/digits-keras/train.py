"""Train a small Keras CNN on scikit-learn's 1,797 handwritten digits and save it as .keras.

Images are NHWC, as Keras has them. Writes out/model.keras and three files of images that no two
share: calibration and golden from the training part, evaluation from the test part.
"""

import json
from pathlib import Path

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

OUT = Path(__file__).parent / "out"
EPOCHS = 15


def build() -> keras.Model:
    """Two convolutions and two dense layers, 8x8 grey images to ten probabilities."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="image"),
            keras.layers.Normalization(mean=4.9, variance=36.2),
            keras.layers.Conv2D(16, 3, padding="same", activation="gelu"),
            keras.layers.BatchNormalization(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    keras.utils.set_random_seed(0)
    digits = load_digits()
    images = digits.images.astype(np.float32)[..., np.newaxis]
    labels = digits.target.astype(np.int64)
    fit_x, test_x, fit_y, test_y = train_test_split(
        images, labels, test_size=0.4, random_state=0, stratify=labels
    )
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(fit_x, fit_y, epochs=EPOCHS, batch_size=64, verbose=0)
    model.save(OUT / "model.keras")
    np.savez(OUT / "calibration.npz", image=fit_x[:256])
    np.savez(OUT / "golden.npz", image=fit_x[256:320])
    np.savez(OUT / "evaluation.npz", image=test_x, label=test_y)
    (OUT / "labels.json").write_text(json.dumps([str(i) for i in range(10)]), encoding="utf-8")
    right = (model.predict(test_x, verbose=0).argmax(1) == test_y).mean()
    print(f"trained on {len(fit_x)} digits, {right:.4f} of {len(test_x)} others right: {OUT}")


if __name__ == "__main__":
    main()
