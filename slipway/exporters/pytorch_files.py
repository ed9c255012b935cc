"""PyTorch model files: programs and weights that run no code when loaded; pickles when trusted."""

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from slipway.errors import ExportFailed, SpecError, UnreadableModel, UntrustedSource
from slipway.exporters.archives import check_pt2, is_pickle, sniff
from slipway.exporters.factories import build_from_factory
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest

_Loaded = TypeVar("_Loaded")


def load_source(request: ExportRequest) -> torch.export.ExportedProgram | torch.nn.Module:
    """The program, or the module that the factory built, filled with the weights.

    Raises:
        UntrustedSource: when loading would run code of the file's.
        UnreadableModel: when the file is damaged or of another kind.
        SpecError, ExportFailed: when there is no factory, or its module does not fit.
    """
    path = request.path
    kind = sniff(path)
    if kind == "pt2":
        for data in check_pt2(path):
            _check_sample_inputs(data, path)
        program = _reading(path, lambda: torch.export.load(path))
        # Guards are Python source from the file, which calling the program would execute.
        program._guards_code = []  # noqa: SLF001 - torch 2.13 has no public way
        return program
    if kind == "safetensors":
        from safetensors.torch import load_file

        return _fill(build_from_factory(request), _reading(path, lambda: load_file(path)), path)
    if kind == "torchscript":
        raise UntrustedSource(
            f"{path.name} is TorchScript, which can read and write files when run; save the "
            "model with torch.export.save(program, 'model.pt2')"
        )
    if kind == "skops":
        raise UnreadableModel(f"{path.name} is a scikit-learn model; set framework: sklearn")
    return _load_pickled(request)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Weights by name from safetensors, or from a pickle that the safe loader takes; never more.

    Raises:
        UntrustedSource: when a pickle needs code to be loaded.
        UnreadableModel: when the file is damaged or holds no weights.
    """
    if sniff(path) == "safetensors":
        from safetensors.torch import load_file

        return _reading(path, lambda: load_file(path))
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not is_pickle(path):
            raise UnreadableModel(f"{path.name} is no file of weights; damaged?") from error
        raise UntrustedSource(
            f"{path.name} is a pickle, which runs code when loaded: save the model with "
            "save_pretrained, which writes safetensors"
        ) from error
    except Exception as error:  # parsers raise whatever they like
        raise UnreadableModel(
            f"{path.name} cannot be read as weights ({first_lines(error)}); truncated?"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    ):
        raise UnreadableModel(f"{path.name} holds a {type(state).__name__}, not weights by name")
    return dict(state)


def _load_pickled(request: ExportRequest) -> torch.nn.Module:
    """A torch.save file: a state dict by the safe loader, anything else only when trusted."""
    path = request.path
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not request.source.trusted and not is_pickle(path):
            raise UnreadableModel(
                f"{path.name} is no file of PyTorch's: neither .pt2 nor safetensors nor weights "
                "saved by torch.save; damaged, or of another framework?"
            ) from error
        if not request.source.trusted:
            raise UntrustedSource(
                f"{path.name} is a pickle, which runs code when loaded: save it with "
                "torch.export.save (.pt2) or its state dict with safetensors; or set "
                "trusted: true and sha256 in the spec"
            ) from error
        state = _reading(
            path,
            lambda: torch.load(path, map_location="cpu", weights_only=False),
        )
    except Exception as error:  # parsers raise whatever they like
        raise UnreadableModel(
            f"{path.name} cannot be read as weights ({first_lines(error)}); truncated, or no file "
            "of PyTorch's?"
        ) from error
    if isinstance(state, torch.nn.Module):
        return state
    if isinstance(state, Mapping):
        return _fill(build_from_factory(request), state, path)
    raise UnreadableModel(f"{path.name} holds a {type(state).__name__}, not weights by name")


def _check_sample_inputs(data: bytes, path: Path) -> None:
    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:
        raise UntrustedSource(
            f"{path.name}: its sample inputs are a pickle that runs code when loaded"
        ) from error


def _reading(path: Path, load: Callable[[], _Loaded]) -> _Loaded:
    try:
        return load()
    except Exception as error:  # parsers raise whatever they like
        raise UnreadableModel(
            f"{path.name} cannot be loaded ({type(error).__name__}: {error}); truncated, or saved "
            f"by another torch than {torch.__version__}?"
        ) from error


def _fill(module: Any, state: Mapping[str, Any], path: Path) -> torch.nn.Module:  # noqa: ANN401 - whatever the factory built
    if not isinstance(module, torch.nn.Module):
        raise SpecError(f"source.factory returned {type(module).__name__}, not a torch.nn.Module")
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ExportFailed(
            f"the weights of {path.name} do not fit the factory's module: {first_lines(error)}; "
            "set source.factory and source.factory_arguments to what the weights were saved from"
        ) from error
    return module
