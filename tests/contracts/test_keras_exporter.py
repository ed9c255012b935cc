"""Keras sources against the contract: Sequential, functional with two heads, weights."""

from pathlib import Path
from typing import ClassVar

import pytest

from slipway.protocols import ExportRequest
from slipway.specs import Framework, SourceSpec, TensorSpec
from tests.contracts.exporter_contract import ExporterContract

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[keras]'",
    exc_type=ImportError,
)

from tests.models import keras as keras_models  # it needs TensorFlow


class KerasContract(ExporterContract):
    framework: ClassVar[Framework] = "keras"
    module: ClassVar[str] = "tensorflow"


class TestSequential(KerasContract):
    """NHWC images stay NHWC."""

    inputs: ClassVar[tuple[str, ...]] = ("image",)
    outputs: ClassVar[tuple[str, ...]] = ("output",)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = keras_models.save(keras_models.sequential(), folder / "model.keras")
        return ExportRequest(source=SourceSpec(framework="keras", uri=str(path)), path=path)


class TestFunctional(KerasContract):
    """Dicts in and out; tokens of any length."""

    inputs: ClassVar[tuple[str, ...]] = ("numbers", "tokens")
    outputs: ClassVar[tuple[str, ...]] = ("kind", "sum")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = keras_models.save(keras_models.functional(), folder / "model.keras")
        return ExportRequest(
            source=SourceSpec(framework="keras", uri=str(path)),
            path=path,
            inputs={
                "tokens": TensorSpec(dtype="int64", shape=("batch", "sequence")),
                "numbers": TensorSpec(shape=("batch", 4)),
            },
        )


class TestSubclassed(KerasContract):
    """Weights for the two-armed model that a factory builds."""

    inputs: ClassVar[tuple[str, ...]] = ("x", "y")
    outputs: ClassVar[tuple[str, ...]] = ("hidden", "scores")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        factory = folder / "factory.py"
        path = keras_models.save(keras_models.subclassed(factory), folder / "model.weights.h5")
        return ExportRequest(
            source=SourceSpec(framework="keras", uri=str(path), factory="factory.py:build"),
            path=path,
            factory_path=factory,
            inputs={name: TensorSpec(shape=("batch", 5)) for name in ("x", "y")},
        )
