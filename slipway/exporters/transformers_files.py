"""A folder as save_pretrained writes it, read without running anything of it.

The model is built from its configuration by the installed library's own classes and filled with
weights that were read here; the library's loader, which also follows adapters, hub kernels,
quantizers and code beside the weights, never sees the folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from slipway.artifacts import check_relative_path
from slipway.errors import ExportFailed, SourceNotFound, UnreadableModel
from slipway.exporters.pytorch_files import read_weights
from slipway.exporters.wording import first_lines

_MAX_JSON_BYTES: Final = 64 << 20
_SINGLE: Final = ("model.safetensors", "pytorch_model.bin")
# What a configuration can say that makes the library fetch, patch or import something. Keys that
# begin with an underscore are its notes to itself, the choice of an attention kernel among them.
_NOT_FOLLOWED: Final = frozenset(
    {"auto_map", "custom_pipelines", "fusion_config", "transformers_weights", "attn_implementation",
     "experts_implementation", "kernel_config", "distributed_config", "name_or_path", "torch_dtype",
     "dtype", "use_kernels"}
)  # fmt: skip


def load_pretrained(folder: Path) -> PreTrainedModel:
    """The model in evaluation mode and float32, exactly filled.

    Raises:
        SourceNotFound: when there is no such folder.
        UnreadableModel: when a file of it is missing, damaged or of another kind.
        UntrustedSource: when the weights are a pickle that runs code.
        ExportFailed: when the library has no such model, or the weights do not fill it.
    """
    raw = _read_config(folder)
    config = _build_config(raw, folder)
    cls: Any = _model_class(raw, config, folder)  # from_pretrained's type is of one of its answers
    state: dict[str, torch.Tensor] = {}
    for path in _weight_files(folder):
        state |= read_weights(path)
    try:
        model, loading = cls.from_pretrained(
            None,
            config=config,
            state_dict=state,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except Exception as error:  # models check their configurations as they like
        raise ExportFailed(
            f"{folder.name}: {cls.__name__} cannot be filled with these weights: "
            f"{first_lines(error)}"
        ) from error
    if missing := sorted(loading["missing_keys"]):
        raise ExportFailed(
            f"{folder.name}: {len(missing)} weights of {cls.__name__} are not in the files and "
            f"would be random ({', '.join(missing[:3])}); save the model that was trained, or name "
            "the class that the weights are of in config.json (architectures)"
        )
    filled: PreTrainedModel = model.eval()
    return filled


def _read_config(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise SourceNotFound(f"there is no folder at {folder}")
    if not folder.is_dir():
        raise UnreadableModel(
            f"{folder.name} is a file; name the folder that save_pretrained wrote, with "
            "config.json and model.safetensors in it"
        )
    if (folder / "adapter_config.json").exists():
        raise ExportFailed(
            f"{folder.name} holds an adapter, not a model: merge it into its base model "
            "(merge_and_unload) and save that"
        )
    raw = _read_json(folder, "config.json")
    if raw.get("quantization_config"):
        raise ExportFailed(
            f"{folder.name}: the weights are quantized already; give the model that they were "
            "made from"
        )
    return raw


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = _member(folder, name)
    if path.stat().st_size > _MAX_JSON_BYTES:
        raise UnreadableModel(f"{folder.name}: {name} is too large for what it should be")
    try:
        raw = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableModel(f"{folder.name}: {name} is no JSON ({error})") from error
    if not isinstance(raw, dict):
        raise UnreadableModel(f"{folder.name}: {name} is no JSON object")
    return raw


def _member(folder: Path, name: str) -> Path:
    """A plain file of the folder."""
    try:
        path = folder / check_relative_path(name)
    except ValueError as error:
        raise UnreadableModel(f"{folder.name}: {error}; weights lie in the folder") from error
    if any(part.is_symlink() for part in (path, *path.parents[: len(Path(name).parts) - 1])):
        raise UnreadableModel(f"{folder.name}: {name} is a symbolic link; copy the file")
    if not path.is_file():
        raise UnreadableModel(
            f"{folder.name} has no {name}; name a folder that save_pretrained wrote"
        )
    return path


def _weight_files(folder: Path) -> list[Path]:
    for name in _SINGLE:
        index = f"{name}.index.json"
        if (folder / index).exists():
            shards = _read_json(folder, index).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(v, str) for v in shards.values()):
                raise UnreadableModel(f"{folder.name}: {index} maps no weights to files")
            return [_member(folder, shard) for shard in sorted(set(shards.values()))]
        if (folder / name).exists():
            return [_member(folder, name)]
    raise UnreadableModel(
        f"{folder.name} has neither model.safetensors nor pytorch_model.bin; save the model with "
        "save_pretrained"
    )


def _build_config(raw: Mapping[str, Any], folder: Path) -> PreTrainedConfig:
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        custom = ", and code from the folder is never run" if raw.get("auto_map") else ""
        raise ExportFailed(
            f"{folder.name}: transformers {transformers.__version__} has no model of type "
            f"{kind!r}{custom}"
        )
    try:
        config: PreTrainedConfig = CONFIG_MAPPING[kind].from_dict(_plain(raw))
    except Exception as error:  # configurations check themselves as they like
        raise UnreadableModel(
            f"{folder.name}: config.json is no configuration of {kind}: {first_lines(error)}"
        ) from error
    for key, value in {"return_dict": True, "use_cache": False}.items():
        setattr(config, key, value)
    config.output_hidden_states = config.output_attentions = False
    return config


def _plain(value: Any) -> Any:  # noqa: ANN401 - parsed JSON
    """A configuration without what the library would follow elsewhere."""
    if isinstance(value, dict):
        return {
            key: _plain(item)
            for key, item in value.items()
            if key not in _NOT_FOLLOWED and not key.startswith("_")
        }
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _model_class(
    raw: Mapping[str, Any], config: PreTrainedConfig, folder: Path
) -> type[PreTrainedModel]:
    """The class that the weights were saved from, else the model without a head."""
    named = raw.get("architectures") or [_headless(config)]
    name = named[0] if isinstance(named, list) else named
    cls = getattr(transformers, name, None) if isinstance(name, str) else None
    if not (isinstance(cls, type) and issubclass(cls, PreTrainedModel)):
        raise ExportFailed(
            f"{folder.name}: transformers {transformers.__version__} has no architecture {name!r}"
        )
    if cls.config_class is None or not isinstance(config, cls.config_class):
        raise ExportFailed(
            f"{folder.name}: {name} is not of type {config.model_type}, which config.json says"
        )
    return cls


def _headless(config: PreTrainedConfig) -> str | None:
    mapping: Any = transformers.MODEL_MAPPING
    found = mapping.get(type(config), None)
    first = found[0] if isinstance(found, tuple) else found
    return getattr(first, "__name__", None)
