"""Tiny Transformers models, trained for a few steps, in folders as save_pretrained writes them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BartConfig,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    PreTrainedModel,
    RobertaConfig,
    T5Config,
    ViTConfig,
)

from slipway.protocols import ExportRequest
from slipway.specs import SourceSpec

WORDS = 40
_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
_DECODED: dict[str, Any] = {
    **{f"{part}_layers": 1 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 2 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 32 for part in ("encoder", "decoder")},
}


def bert(**more: Any) -> BertConfig:
    return BertConfig(vocab_size=WORDS, max_position_embeddings=32, **{**_SIZE, **more})


def distilbert() -> DistilBertConfig:
    return DistilBertConfig(vocab_size=WORDS, dim=32, n_layers=2, n_heads=4, hidden_dim=64)


def roberta() -> RobertaConfig:
    return RobertaConfig(vocab_size=WORDS, max_position_embeddings=26, type_vocab_size=1, **_SIZE)


def vit() -> ViTConfig:
    return ViTConfig(image_size=16, patch_size=4, **_SIZE)


def t5() -> T5Config:
    return T5Config(vocab_size=WORDS, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)


def bart() -> BartConfig:
    return BartConfig(vocab_size=WORDS, d_model=32, max_position_embeddings=32, **_DECODED)


def random_tokens(rows: int, length: int) -> dict[str, torch.Tensor]:
    generator = np.random.default_rng(0)
    mask = np.arange(length) < generator.integers(4, length + 1, (rows, 1))
    ids = np.where(mask, generator.integers(3, WORDS, (rows, length)), 0)
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }


def trained(model: PreTrainedModel, *, steps: int = 10) -> PreTrainedModel:
    """A token model after a few steps towards telling whether the first word is a high one."""
    torch.manual_seed(0)
    data = random_tokens(64, 12)
    target = (data["input_ids"][:, 0] > WORDS // 2).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        answers = model(**data)
        first = next(value for value in answers.values() if isinstance(value, torch.Tensor))
        scores = first.reshape(64, -1)[:, :2]
        torch.nn.functional.cross_entropy(scores, target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    ready: Any = model.train(False)  # noqa: FBT003 - torch's own argument
    return ready  # type: ignore[no-any-return]


def classifier() -> PreTrainedModel:
    torch.manual_seed(0)
    return trained(BertForSequenceClassification(bert()))


def save(model: PreTrainedModel, folder: Path, **asked: Any) -> ExportRequest:
    """The model in a folder of its own, and the request to export it."""
    path = folder / "model"
    model.save_pretrained(path)
    return request_for(path, **asked)


def request_for(path: Path, **asked: Any) -> ExportRequest:
    source = SourceSpec(framework="transformers", uri=str(path))
    return ExportRequest(source=source, path=path, **asked)
