"""Transformers: tiny random models of the encoder families, beside the plain dynamo export.

Nothing is fetched: a model is its configuration, made small, and weights drawn at random. The
reference is the model itself at three batch sizes and lengths, padding included.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transformers
from transformers import CONFIG_MAPPING, MODEL_MAPPING, PreTrainedModel

from benchmarks.coverage_judge import Framework, Reference
from slipway.protocols import ExportRequest
from slipway.specs import SourceSpec, TensorSpec

TEXTS: Final = (
    "albert", "bert", "bert-generation", "big_bird", "camembert", "canine", "convbert",
    "data2vec-text", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm", "flaubert",
    "fnet", "funnel", "ibert", "layoutlm", "longformer", "luke", "megatron-bert", "mobilebert",
    "modernbert", "mpnet", "mra", "nystromformer", "rembert", "roberta", "roberta-prelayernorm",
    "roc_bert", "roformer", "splinter", "squeezebert", "xlm", "xlm-roberta", "xlm-roberta-xl",
    "xlnet", "xmod", "yoso", "clip_text_model",
)  # fmt: skip
ENCODERS: Final = (
    "t5", "mt5", "umt5", "longt5", "switch_transformers", "bart", "mbart", "pegasus", "blenderbot",
    "m2m_100", "marian", "led", "prophetnet", "bigbird_pegasus",
)  # fmt: skip
IMAGES: Final = (
    "vit", "deit", "beit", "swin", "swinv2", "convnext", "convnextv2", "resnet", "mobilevit",
    "mobilenet_v1", "mobilenet_v2", "regnet", "poolformer", "levit", "cvt", "dinov2",
    "data2vec-vision", "vit_msn", "segformer", "pvt", "focalnet", "efficientnet", "bit",
    "clip_vision_model",
)  # fmt: skip
HEADS: Final = {
    "SequenceClassification": (
        "bert", "distilbert", "roberta", "albert", "electra", "deberta", "deberta-v2", "mpnet",
        "xlm-roberta", "camembert", "mobilebert", "squeezebert", "modernbert", "bart", "t5",
    ),
    "TokenClassification": (
        "bert", "distilbert", "roberta", "albert", "electra", "deberta-v2", "mpnet", "xlm-roberta",
        "camembert", "mobilebert", "squeezebert", "modernbert",
    ),
    "QuestionAnswering": ("bert", "distilbert", "roberta"),
    "MaskedLM": ("bert", "roberta"),
    "ImageClassification": ("vit", "deit", "beit", "swin", "convnext", "resnet", "mobilevit"),
}  # fmt: skip
# Whatever of these a configuration knows is made this small.
_SMALL: Final[dict[str, Any]] = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "emb_dim", "embed_dim"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "num_layers", "n_layer"), 2),
    **dict.fromkeys(("num_encoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_heads", "num_heads", "n_head"), 4),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "d_inner", "ffn_dim"), 64),
    **dict.fromkeys((f"{part}_layers" for part in ("encoder", "decoder")), 2),
    **dict.fromkeys((f"{part}_attention_heads" for part in ("encoder", "decoder")), 4),
    **dict.fromkeys((f"{part}_ffn_dim" for part in ("encoder", "decoder")), 64),
    **dict.fromkeys((f"num_{part}_attention_heads" for part in ("encoder", "decoder")), 4),
    "d_kv": 8,
    "vocab_size": 60,
    "embedding_size": 16,
    "max_position_embeddings": 64,
    "image_size": 32,
    "patch_size": 8,
}
# Names that a configuration answers to and cannot be made with.
_UNSETTABLE: Final = {
    "convnext": ("num_layers", "num_hidden_layers"),
    "convnextv2": ("num_layers", "num_hidden_layers"),
    "funnel": ("num_hidden_layers",),
    "prophetnet": ("num_hidden_layers",),
    "xlnet": ("max_position_embeddings",),
}
_SPECIAL: Final = (
    "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "sep_token_id",
)  # fmt: skip
_STAGES: Final = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]}
_OWN: Final[dict[str, dict[str, Any]]] = {
    "longformer": {"attention_window": 4},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 16},
    "mobilebert": {"intra_bottleneck_size": 16, "true_hidden_size": 16, "embedding_size": 32},
    "funnel": {"block_sizes": [1, 1], "d_head": 8},
    "modernbert": {"pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1, "cls_token_id": 1,
                   "sep_token_id": 2, "local_attention": 8},
    "xmod": {"default_language": "en_XX"},
    "canine": {"num_hash_buckets": 64, "local_transformer_stride": 4, "upsampling_kernel_size": 4},
    "convbert": {"head_ratio": 2, "conv_kernel_size": 3},
    "clip_text_model": {"eos_token_id": 2, "pad_token_id": 1, "bos_token_id": 0},
    "led": {"attention_window": 4, "max_encoder_position_embeddings": 64,
            "max_decoder_position_embeddings": 64},
    "esm": {"vocab_size": 60, "pad_token_id": 1, "mask_token_id": 3},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 32},
    "squeezebert": {"embedding_size": 32},
    "t5": {"decoder_start_token_id": 0},
    "swin": {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
             "window_size": 4},
    "swinv2": {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2],
               "window_size": 4},
    "convnext": {**_STAGES, "num_stages": 4, "patch_size": 4},
    "convnextv2": {**_STAGES, "num_stages": 4, "patch_size": 4},
    "resnet": {**_STAGES, "embedding_size": 8},
    "regnet": {**_STAGES, "embedding_size": 8, "groups_width": 8},
    # Groups of two values, which are one pixel's, would magnify float32's noise without bound.
    "bit": {**_STAGES, "embedding_size": 8, "num_groups": 1},
    "poolformer": {**_STAGES},
    "mobilevit": {"image_size": 64, "patch_size": 2, "hidden_sizes": [16, 16, 16],
                  "neck_hidden_sizes": [8, 8, 8, 8, 8, 8, 16]},
    "mobilenet_v1": {"depth_multiplier": 0.25, "min_depth": 4},
    "mobilenet_v2": {"depth_multiplier": 0.25, "min_depth": 4},
    "levit": {"image_size": 64, "hidden_sizes": [16, 24, 32], "num_attention_heads": [2, 2, 2],
              "depths": [1, 1, 1], "key_dim": [8, 8, 8], "patch_size": 16},
    "cvt": {"embed_dim": [8, 16, 32], "num_heads": [1, 2, 2], "depth": [1, 2, 3],
            "drop_path_rate": [0.0, 0.0, 0.1]},
    "segformer": {**_STAGES, "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2]},
    "pvt": {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2],
            "depths": [1, 1, 1, 1], "patch_sizes": [4, 2, 2, 2], "image_size": 64},
    "focalnet": {"embed_dim": 8, "depths": [1, 1], "focal_levels": [2, 2],
                 "focal_windows": [3, 3], "patch_size": 4},
    "efficientnet": {"image_size": 64, "width_coefficient": 0.25, "depth_coefficient": 0.3,
                     "hidden_dim": 320},
}  # fmt: skip


def _config(kind: str) -> Any:  # noqa: ANN401 - a configuration of any kind
    cls = CONFIG_MAPPING[kind]
    default = cls()
    known = {name: size for name, size in _SMALL.items() if hasattr(default, name)}
    # A pair of names may mean one thing, and a list is one size a stage.
    plain = {name: size for name, size in known.items() if isinstance(getattr(default, name), int)}
    beyond = {
        name: at
        for at, name in enumerate(_SPECIAL)
        if isinstance(token := getattr(default, name, None), int) and token >= _SMALL["vocab_size"]
    }
    left_out = _UNSETTABLE.get(kind, ())
    sizes = {name: size for name, size in plain.items() if name not in left_out}
    return cls(**{**sizes, **beyond, **_OWN.get(kind, {})})


def _made(kind: str, head: str = "") -> PreTrainedModel:
    torch.manual_seed(0)
    config = _config(kind)
    if head:
        config.num_labels = 2 if head == "QuestionAnswering" else 3
        config.architectures = []
        cls: Any = getattr(transformers, f"AutoModelFor{head}")
        model = cls.from_config(config)
    else:
        found: Any = MODEL_MAPPING[type(config)]
        cls = found[0] if isinstance(found, tuple) else found
        model = cls(config)
    with torch.no_grad():  # constants would hide what is left out
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    ready: PreTrainedModel = model.eval()
    return ready


def _cases() -> dict[str, Callable[[], PreTrainedModel]]:
    found = {kind: functools.partial(_made, kind) for kind in (*TEXTS, *ENCODERS, *IMAGES)}
    for head, kinds in HEADS.items():
        found |= {f"{kind} {head}": functools.partial(_made, kind, head) for kind in kinds}
    return dict(found)


def _callee(model: PreTrainedModel) -> Any:  # noqa: ANN401 - the model, or its encoder
    takes = inspect.signature(model.forward).parameters
    whole = type(model).__name__.endswith(("ForSequenceClassification", "ForQuestionAnswering"))
    return model if whole or "decoder_input_ids" not in takes else model.get_encoder()


def _feeds(model: PreTrainedModel) -> Iterator[dict[str, torch.Tensor]]:
    """Token rows that end in padding, or images."""
    random = np.random.default_rng(0)
    takes = inspect.signature(_callee(model).forward).parameters
    config: Any = model.config
    for batch, length in ((2, 12), (3, 9), (1, 16)):
        if "pixel_values" in takes:
            size = _image_size(config)
            images = random.standard_normal((batch, 3, size, size)).astype(np.float32)
            yield {"pixel_values": torch.from_numpy(images)}
            continue
        mask = np.arange(length) < random.integers(3, length + 1, (batch, 1))
        mask[0] = True
        ids = random.integers(5, 60, (batch, length))
        end = mask.sum(axis=1) - 1
        ids[np.arange(batch), end] = getattr(config, "eos_token_id", None) or 2
        pad = getattr(config, "pad_token_id", None) or 0
        kinds = (np.arange(length) > length // 2) & mask
        arrays = {
            "input_ids": np.where(mask, ids, pad),
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": kinds.astype(np.int64),
        }
        if getattr(config, "type_vocab_size", 0) < 2:  # noqa: PLR2004 - a pair of texts
            del arrays["token_type_ids"]
        yield {name: torch.from_numpy(it) for name, it in arrays.items() if name in takes}


def _image_size(config: Any) -> int:  # noqa: ANN401
    size = getattr(config, "image_size", None)
    return size if isinstance(size, int) else 32


def _save(model: PreTrainedModel, folder: Path) -> ExportRequest:
    """What its owner would ask for: the image size, where the configuration names none."""
    path = folder / "model"
    model.save_pretrained(path)
    inputs = {}
    if "pixel_values" in inspect.signature(model.forward).parameters:
        size = _image_size(model.config)
        inputs = {"pixel_values": TensorSpec(dtype="float32", shape=("batch", 3, size, size))}
    source = SourceSpec(framework="transformers", uri=str(path))
    return ExportRequest(source=source, path=path, inputs=inputs)


def _plain(model: PreTrainedModel, _: ExportRequest, folder: Path) -> Path:
    """`torch.onnx.export(dynamo=True)` as its documentation calls it."""
    feeds = next(iter(_feeds(model)))
    axes = {
        name: {0: "batch"} if name == "pixel_values" else {0: "batch", 1: "sequence"}
        for name in feeds
    }
    path = folder / "plain.onnx"
    torch.onnx.export(
        _callee(model), (), path, kwargs=feeds, dynamo=True, dynamic_shapes=axes, verbose=False
    )
    return path


def _reference(model: PreTrainedModel, _: ExportRequest) -> Reference:
    """The model's own answers, by its own formula of attention.

    The fused one differs from it where a window holds nothing but padding, at places of padding
    whose answers mean nothing (ModernBERT).
    """
    config: Any = model.config
    before = config._attn_implementation  # noqa: SLF001 - there is no other way to ask
    model.set_attn_implementation("eager")
    runs = []
    for feeds in _feeds(model):
        with torch.no_grad():
            answers = _callee(model)(**feeds)
        wanted = [
            value.numpy()
            for name, value in answers.items()
            if isinstance(value, torch.Tensor) and name != "encoder_last_hidden_state"
        ]
        runs.append(({name: it.numpy() for name, it in feeds.items()}, wanted))
    model.set_attn_implementation(before)
    return Reference(runs)


FRAMEWORK = Framework(
    _cases,
    _save,
    _plain,
    _reference,
    group=15,
    limit_s=300,
    memory_gib=6,
    environment={"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
)
