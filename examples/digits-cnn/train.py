"""Train a small CNN on scikit-learn's 1,797 handwritten digits and save what a release needs.

Writes out/model.pt2 and three files of images that no two share: calibration and golden from the
training part, evaluation from the test part.
"""

import json
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent
OUT = HERE / "out"
EPOCHS = 30


def build() -> nn.Module:
    """Two convolutions and two dense layers, 8x8 grey images to ten scores."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def train(images: np.ndarray, labels: np.ndarray) -> nn.Module:
    """Train with a fixed seed; about ten seconds on two cores."""
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, np.newaxis]
    labels = digits.target.astype(np.int64)
    fit_x, test_x, fit_y, test_y = train_test_split(
        images, labels, test_size=0.4, random_state=0, stratify=labels
    )
    model = train(fit_x, fit_y)
    program = torch.export.export(
        model, (torch.from_numpy(fit_x[:2]),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, OUT / "model.pt2")
    np.savez(OUT / "calibration.npz", image=fit_x[:256])
    np.savez(OUT / "golden.npz", image=fit_x[256:320])
    np.savez(OUT / "evaluation.npz", image=test_x, label=test_y)
    (OUT / "labels.json").write_text(json.dumps([str(i) for i in range(10)]), encoding="utf-8")
    with torch.no_grad():
        right = (model(torch.from_numpy(test_x)).argmax(1).numpy() == test_y).mean()
    print(f"trained on {len(fit_x)} digits, {right:.4f} of {len(test_x)} others right: {OUT}")


if __name__ == "__main__":
    main()
