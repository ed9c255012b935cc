"""What an MLflow model's own description says: which framework made it, and in which file.

Nothing is loaded here. The description is somebody else's text, so whatever it names must be a
plain path inside the model's folder.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from slipway.artifacts import Value, check_relative_path
from slipway.errors import RequestError, UnreadableModel
from slipway.specs import FRAMEWORKS, Framework

DESCRIPTION: Final = "MLmodel"
_DESCRIPTION_LIMIT_BYTES: Final = 4 << 20
# What MLflow puts beside a model: no part of it.
_BESIDE: Final = frozenset(
    {
        *(DESCRIPTION, "conda.yaml", "python_env.yaml", "requirements.txt", "constraints.txt"),
        *("input_example.json", "serving_input_example.json", "registered_model_meta"),
    }
)

# flavour: (framework, the key that names its file or folder, files to look for in such a folder);
# the first that a model has counts, since a model of a library that looks like scikit-learn may
# have that flavour as well.
_FLAVOURS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "xgboost": ("xgboost", "data", ()),
    "lightgbm": ("lightgbm", "data", ()),
    "catboost": ("catboost", "data", ()),
    "transformers": ("transformers", "model_binary", ()),
    "keras": ("keras", "data", ("model.keras", "model.h5")),
    "tensorflow": ("tensorflow", "saved_model_dir", ()),
    "pytorch": ("pytorch", "model_data", ("model.pt2", "model.pth")),
    "onnx": ("onnx", "data", ()),
    "sklearn": ("sklearn", "pickled_model", ()),
}


class ModelFiles(Value):
    """A model's own file or folder, and the framework that its flavour names."""

    framework: Framework
    path: Path


def read_flavour(folder: Path, where: str) -> ModelFiles:
    """The framework and the file of the model in a downloaded folder.

    Args:
        folder: The folder with the `MLmodel` file.
        where: Its address, for messages.

    Raises:
        RequestError: when there is no MLmodel, or no flavour of a framework that is known here.
        UnreadableModel: when the MLmodel is damaged, or what it names is not in the folder.
    """
    flavours = _flavours(folder, where)
    flavour = next((name for name in _FLAVOURS if name in flavours), None)
    if flavour is None:
        found = ", ".join(sorted(map(str, flavours))) or "none"
        raise RequestError(
            f"{where} has no flavour that names a framework (it has: {found}); log the model with "
            f"one of {', '.join(f'mlflow.{name}' for name in _FLAVOURS)}"
        )
    settings = flavours[flavour]
    framework, key, files = _FLAVOURS[flavour]
    if flavour == "tensorflow" and settings.get("model_type", "keras") == "keras":
        framework, key, files = _FLAVOURS["keras"]
    if framework not in FRAMEWORKS:
        raise RequestError(f"{where} is a {framework} model, which has no exporter here")
    found_path = _named(folder, settings.get(key), where)
    for name in (*files, *(f"data/{file}" for file in files)):
        if (found_path / name).is_file():
            found_path /= name
            break
    if flavour == "transformers":
        _gather(folder / "components", found_path)
    if flavour == "onnx":
        found_path = _with_weights(folder, found_path)
    return ModelFiles(framework=framework, path=found_path)


def _flavours(folder: Path, where: str) -> Mapping[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise RequestError(f"{where} holds no MLmodel; give the address of a logged model")
    if path.stat().st_size > _DESCRIPTION_LIMIT_BYTES:
        raise UnreadableModel(f"{where}: its MLmodel has more than 4 MiB")
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableModel(f"{where}: its MLmodel is not YAML: {error}") from error
    flavours = raw.get("flavors") if isinstance(raw, Mapping) else None
    if not isinstance(flavours, Mapping):
        raise UnreadableModel(f"{where}: its MLmodel lists no flavors")
    return {
        name: settings if isinstance(settings, Mapping) else {}
        for name, settings in flavours.items()
    }


def _named(folder: Path, name: object, where: str) -> Path:
    try:
        path = folder / check_relative_path(str(name or ""))
    except ValueError as error:
        raise UnreadableModel(f"{where}: its MLmodel names no file of its own: {error}") from error
    if not path.exists() or not path.resolve().is_relative_to(folder.resolve()):
        raise UnreadableModel(f"{where}: its MLmodel names {name}, which is not there")
    return path


def _gather(components: Path, model: Path) -> None:
    """Put tokenizer and processor files beside the weights, as save_pretrained leaves them."""
    for file in sorted(components.glob("*/*")):
        if file.is_file() and not (model / file.name).exists():
            shutil.copyfile(file, model / file.name)


def _with_weights(folder: Path, model: Path) -> Path:
    """The ONNX file, or a folder of it and of the files that hold its weights."""
    others = [file for file in folder.iterdir() if file.name not in _BESIDE and file != model]
    if not others:
        return model
    for name in _BESIDE:
        (folder / name).unlink(missing_ok=True)
    return folder
