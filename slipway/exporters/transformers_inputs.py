"""What a Transformers model takes, from its architecture; and inputs made up as a tokenizer would.

Ids lie in the vocabulary, masks have padding at the end, and token types two segments.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from transformers import PreTrainedModel

from slipway.errors import SpecError
from slipway.exporters.recording import GOLDEN_BATCH_SIZES, as_inputs
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.specs import TensorSpec

TOKENS: Final = ("input_ids", "attention_mask", "token_type_ids")
# Long enough that relative positions fall into several buckets, and each of another length.
_LENGTHS: Final = (16, 24, 9)
_PAIR: Final = 2
_CHARACTERS: Final = 1 << 16  # CANINE takes code points and has no vocabulary


@dataclass(frozen=True)
class Vocabulary:
    """What decides which token sequences are real."""

    size: int
    longest: int
    pad: int | None
    end: int | None

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Vocabulary":
        """From the model's configuration."""
        config = model.config.get_text_config()
        pad = getattr(config, "pad_token_id", None)
        end = getattr(config, "eos_token_id", None)
        # RoBERTa counts positions from behind its padding token's id.
        longest = getattr(config, "max_position_embeddings", None) or 1 << 20
        return cls(
            size=int(getattr(config, "vocab_size", None) or _CHARACTERS),
            longest=max(1, int(longest) - 1 - max(pad or 0, 0)),
            pad=pad,
            end=end[0] if isinstance(end, list) else end,
        )


def infer_inputs(
    model: PreTrainedModel, callee: torch.nn.Module, asked: Mapping[str, TensorSpec]
) -> tuple[TensorInfo, ...]:
    """The inputs: those asked for, else what the architecture needs.

    Args:
        model: For its configuration.
        callee: What is called: the model, or its encoder.
        asked: The spec's inputs.

    Raises:
        SpecError: when the model takes no such input, or its shape cannot be told.
    """
    takes = tuple(inspect.signature(callee.forward).parameters)
    if asked:
        if unknown := [name for name in asked if name not in takes]:
            raise SpecError(
                f"{type(callee).__name__} has no input {unknown[0]}; it takes {', '.join(takes)}"
            )
        return as_inputs(asked)
    found = []
    if "input_ids" in takes:
        names = [name for name in TOKENS if name in takes]
        if getattr(model.config.get_text_config(), "type_vocab_size", 0) < _PAIR:
            names = [name for name in names if name != "token_type_ids"]
        found += [TensorInfo(name=n, dtype="int64", shape=("batch", "sequence")) for n in names]
    if "pixel_values" in takes:
        shape = ("batch", *_image_size(model))
        found.append(TensorInfo(name="pixel_values", dtype="float32", shape=shape))
    if not found:
        raise SpecError(
            f"what {type(callee).__name__} takes cannot be told from its configuration: give "
            f"inputs in the spec, with their shapes ({', '.join(takes)})"
        )
    return tuple(found)


def made_up_cases(
    inputs: Sequence[TensorInfo], model: PreTrainedModel, *, seed: int
) -> list[dict[str, Array]]:
    """Inputs at three batch sizes and three lengths, as far as they are dynamic."""
    generator = np.random.default_rng(seed)
    names = {tensor.name for tensor in inputs}
    vocabulary = Vocabulary.of(model) if names & {*TOKENS} else None
    dynamic = any(not isinstance(size, int) for tensor in inputs for size in tensor.shape)
    cases = []
    for index in range(len(GOLDEN_BATCH_SIZES) if dynamic else 1):
        tokens: dict[str, Array] = {}
        case = {}
        for tensor in inputs:
            sizes = _sizes(tensor, index, vocabulary)
            if vocabulary is not None and tensor.name in TOKENS:
                tokens = tokens or _tokens(sizes[0], sizes[1], vocabulary, generator)
                case[tensor.name] = tokens[tensor.name].astype(tensor.dtype)
            elif np.dtype(tensor.dtype).kind == "f":
                case[tensor.name] = generator.standard_normal(sizes).astype(tensor.dtype)
            else:
                case[tensor.name] = generator.integers(0, 2, sizes).astype(tensor.dtype)
        cases.append(case)
    return cases


def _sizes(tensor: TensorInfo, index: int, vocabulary: Vocabulary | None) -> list[int]:
    longest = vocabulary.longest if vocabulary else _LENGTHS[index]
    return [
        size
        if isinstance(size, int)
        else GOLDEN_BATCH_SIZES[index]
        if axis == 0
        else min(_LENGTHS[index], longest)
        for axis, size in enumerate(tensor.shape)
    ]


def _tokens(
    batch: int, length: int, vocabulary: Vocabulary, generator: np.random.Generator
) -> dict[str, Array]:
    """Rows of ids that end in padding; the first row has none, since a batch is as long as it."""
    special = {vocabulary.pad, vocabulary.end}
    words = np.array([i for i in range(min(vocabulary.size, 1 << 20)) if i not in special])
    ids = generator.choice(words, (batch, length))
    lengths = generator.integers(max(1, length // 3), length + 1, (batch, 1))
    lengths[0] = length
    places = np.arange(length)[np.newaxis]
    mask = places < lengths
    if vocabulary.end is not None and 0 <= vocabulary.end < vocabulary.size:
        # Some heads read the place of the end token, and need one in every row.
        ids = np.where(places == lengths - 1, vocabulary.end, ids)
    pad = vocabulary.pad if vocabulary.pad is not None and vocabulary.pad >= 0 else 0
    second = (places >= lengths // 2) & mask
    return {
        "input_ids": np.where(mask, ids, pad),
        "attention_mask": mask.astype(np.int64),
        "token_type_ids": second.astype(np.int64),
    }


def _image_size(model: PreTrainedModel) -> tuple[int, int, int]:
    config: Any = getattr(model.config, "vision_config", None) or model.config
    config = getattr(config, "encoder", None) or config
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if isinstance(size, int):
        return channels, size, size
    if isinstance(size, list | tuple) and len(size) == _PAIR:
        return channels, int(size[0]), int(size[1])
    raise SpecError(
        f"{type(model).__name__} takes images of any size: give inputs.pixel_values in the spec"
    )
