"""Train a small BERT on scikit-learn's handwritten digits, read as sentences.

Four pixels side by side, each white, grey or black, are a word, and a digit is its words from the
top left on, up to the last that is not white: sentences of several lengths, padded and masked.
Writes out/model as save_pretrained does, and three files of sequences that no two share.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from transformers import BertConfig, BertForSequenceClassification

OUT = Path(__file__).parent / "out"
PAD, START, WHITE = 0, 1, 2
SHADES, PIXELS = 3, 4
WORDS = 64 // PIXELS
EPOCHS = 30
CONFIG = BertConfig(
    vocab_size=WHITE + SHADES**PIXELS,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=128,
    max_position_embeddings=WORDS + 1,
    type_vocab_size=1,
    num_labels=10,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def tokenize(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Images (rows, 64) of grey values 0 to 16 to ids and mask."""
    shades = (pixels.astype(np.int64) * SHADES // 17).reshape(-1, WORDS, PIXELS)
    words = shades @ SHADES ** np.arange(PIXELS) + WHITE
    ids = np.insert(words, 0, START, axis=1)
    lengths = WORDS + 1 - (words[:, ::-1] > WHITE).argmax(1)
    mask = np.arange(WORDS + 1) < lengths[:, np.newaxis]
    return {"input_ids": np.where(mask, ids, PAD), "attention_mask": mask.astype(np.int64)}


def train(data: dict[str, np.ndarray], labels: np.ndarray) -> BertForSequenceClassification:
    """Train with a fixed seed; about fifteen seconds on one core."""
    torch.set_num_threads(1)  # so small a model gains nothing from more
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    steps = EPOCHS * -(-len(labels) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    tensors = {name: torch.from_numpy(array) for name, array in data.items()}
    target = torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            batch = {name: tensor[rows] for name, tensor in tensors.items()}
            model(**batch, labels=target[rows]).loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def main() -> None:
    """Train, split, save."""
    shutil.rmtree(OUT / "model", ignore_errors=True)
    OUT.mkdir(exist_ok=True)
    digits = load_digits()
    fit_x, test_x, fit_y, test_y = train_test_split(
        digits.data, digits.target, test_size=0.4, random_state=0, stratify=digits.target
    )
    known, unseen = tokenize(fit_x), tokenize(test_x)
    model = train(known, fit_y)
    model.save_pretrained(OUT / "model")
    np.savez(OUT / "calibration.npz", **{name: array[:256] for name, array in known.items()})
    np.savez(OUT / "golden.npz", **{name: array[256:320] for name, array in known.items()})
    np.savez(OUT / "evaluation.npz", **unseen, label=test_y)
    with torch.no_grad():
        logits = model(**{name: torch.from_numpy(array) for name, array in unseen.items()}).logits
    right = (logits.argmax(1).numpy() == test_y).mean()
    print(f"trained on {len(fit_x)} digits, {right:.4f} of {len(test_x)} others right: {OUT}")


if __name__ == "__main__":
    main()
