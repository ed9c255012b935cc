"""Keras 3 model files: `.keras` in safe mode; weights go into a model that the factory builds.

What belongs here: which files are loaded and which are refused. What does not: conversion.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.errors import SlipwayError, SpecError, UnreadableModel, UntrustedSource
from slipway.exporters.archives import read_json, sniff
from slipway.exporters.factories import build_from_factory
from slipway.exporters.recording import as_inputs, golden_cases, golden_samples
from slipway.exporters.tensorflow_runtime import tf
from slipway.exporters.wording import first_lines
from slipway.protocols import ExportRequest

import keras  # isort: skip - it reads which backend to use, which tensorflow_runtime sets

# What Keras's own classes are saved under; anything else is code that the file alone does not have.
_KERAS_PACKAGES: Final = frozenset({"keras", "builtins"})
_CODE: Final = frozenset({"Lambda", "__lambda__"})


def load_model(request: ExportRequest) -> Any:  # noqa: ANN401 - keras ships no types
    """The model in the file, built, with finite weights.

    Raises:
        UntrustedSource: when loading would run code that is in the file.
        UnreadableModel: when the file is damaged, or holds weights that are not numbers.
        SpecError: when the file needs a factory.
    """
    path, kind = request.path, sniff(request.path)
    if kind not in {"keras", "hdf5"}:
        raise UnreadableModel(
            f"{path.name} is no Keras 3 file; save the model with model.save('model.keras')"
        )
    if kind == "keras":
        _check_config(read_json(path, "config.json"), request)
    model = _load_weights(request) if request.source.factory else _load_whole(request, kind)
    _check_weights(model, path)
    return model


def arguments_like(model: Any, tensors: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401
    """A subclassed model's positional arguments: one each, or all in one dict.

    `call` tells by how many it takes; where its parameters are called as the inputs are, the order
    is its own.
    """
    if len(tensors) == 1:
        return list(tensors.values())
    parameters = [
        name
        for name, parameter in inspect.signature(model.call).parameters.items()
        if name not in {"training", "mask"} and parameter.default is inspect.Parameter.empty
    ]
    if len(parameters) != len(tensors):
        return [dict(tensors)]
    return list(
        map(tensors.__getitem__, parameters)
        if set(parameters) == set(tensors)
        else tensors.values()
    )


def _load_whole(request: ExportRequest, kind: str) -> Any:  # noqa: ANN401
    path = request.path
    if kind == "hdf5":
        raise UnreadableModel(
            f"{path.name} is an HDF5 file, which Keras 3 keeps weights in: set source.factory to "
            "what builds the model, or load it where it was trained and save it as .keras"
        )
    try:
        with _quietly():
            return keras.saving.load_model(
                path, compile=False, safe_mode=not request.source.trusted
            )
    except SlipwayError:
        raise
    except Exception as error:
        raise UnreadableModel(
            f"{path.name} cannot be loaded ({first_lines(error)}); damaged, or saved by another "
            "Keras?"
        ) from error


def _load_weights(request: ExportRequest) -> Any:  # noqa: ANN401
    """The factory's model with the file's weights."""
    model, path = build_from_factory(request), request.path
    if not isinstance(model, keras.Model):
        raise SpecError(
            f"source.factory: {request.source.factory} gave a {type(model).__name__}, "
            "not a keras.Model"
        )
    if not model.built or not model.weights:
        _call_once(model, request)
    try:
        with _quietly():
            model.load_weights(path)
    except Exception as error:
        raise UnreadableModel(
            f"{path.name} does not go into the model that {request.source.factory} builds: "
            f"{first_lines(error)}"
        ) from error
    return model


def _call_once(model: Any, request: ExportRequest) -> None:  # noqa: ANN401
    """A subclassed model makes its weights when it first sees inputs."""
    if not request.inputs:
        raise SpecError(
            "the factory's model does not say what it takes before its first call: give inputs in "
            "the spec, or call it once in the factory"
        )
    case = golden_cases(as_inputs(request.inputs), golden_samples(request), seed=request.seed)[0]
    tensors = {
        name: tf.constant(
            np.moveaxis(array, 1, -1) if name in request.source.inputs_as_nchw else array
        )
        for name, array in case.items()
    }
    try:
        model(*arguments_like(model, tensors), training=False)
    except Exception as error:
        raise SpecError(
            f"the factory's model does not take the inputs of the spec ({first_lines(error)}); "
            "call it once in the factory"
        ) from error


def _check_config(config: object, request: ExportRequest) -> None:
    """Refuse code, and say what is missing for classes that are not Keras's own."""
    name = request.path.name
    for entry in _entries(config):
        class_name = entry.get("class_name")
        if class_name in _CODE and not request.source.trusted:
            inner = entry.get("config")
            layer = inner.get("name", "") if isinstance(inner, dict) else ""
            raise UntrustedSource(
                f"{name}: layer {layer or 'without a name'} is a Lambda, whose Python code the "
                "file holds and loading runs; replace it by Keras layers or operations, or set "
                "trusted: true and sha256 in the spec"
            )
        module = entry.get("module")
        package = module.partition(".")[0] if isinstance(module, str) else "keras"
        foreign = ">" in str(entry.get("registered_name")) or package not in _KERAS_PACKAGES
        if foreign and not request.source.factory:
            raise UntrustedSource(
                f"{name} needs the class {class_name} of "
                f"{module or entry.get('registered_name')}, whose code is not in the file: "
                "set source.factory to what builds the model (file.py:callable), or export "
                "it as a SavedModel and release that"
            )


def _entries(config: object) -> Iterator[dict[str, Any]]:
    """Every serialized object of a config, however deep; no recursion, since files are hostile."""
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _check_weights(model: Any, path: Path) -> None:  # noqa: ANN401
    for variable in model.weights:
        values = np.asarray(variable.value)
        if values.dtype.kind == "f" and np.isnan(values.astype(np.float32, copy=False)).any():
            raise UnreadableModel(
                f"{path.name}: weight {variable.path} holds NaN; training diverged, or the file "
                "is damaged"
            )


def _quietly() -> warnings.catch_warnings:
    return warnings.catch_warnings(action="ignore")
