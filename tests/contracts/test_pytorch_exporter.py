"""PyTorch sources against the contract: programs, weights with a factory, tokens."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file

from slipway.protocols import ExportRequest
from slipway.specs import Framework, SourceSpec, TensorSpec
from tests.contracts.exporter_contract import ExporterContract
from tests.models.pytorch import FACTORY, save_net, save_tokens, trained_net

# torch.export 2.13 copies tree specs in a way that it has deprecated itself.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


class PyTorchContract(ExporterContract):
    framework: ClassVar[Framework] = "pytorch"
    module: ClassVar[str] = "torch"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("output",)


class TestProgram(PyTorchContract):
    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = save_net(folder / "model.pt2")
        return ExportRequest(source=SourceSpec(framework="pytorch", uri=str(path)), path=path)


class TestTokens(PyTorchContract):
    """int64 ids, two inputs, a sequence dimension beside the batch, outputs in a dict."""

    inputs: ClassVar[tuple[str, ...]] = ("ids", "mask")
    outputs: ClassVar[tuple[str, ...]] = ("logits", "tokens")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = save_tokens(folder / "model.pt2")
        return ExportRequest(
            source=SourceSpec(framework="pytorch", uri=str(path)),
            path=path,
            inputs={
                "ids": TensorSpec(dtype="int64", shape=("batch", "sequence")),
                "mask": TensorSpec(shape=("batch", "sequence")),
            },
        )


class TestSafetensors(PyTorchContract):
    """Weights with a factory in a file."""

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path, factory = folder / "model.safetensors", folder / "factory.py"
        save_file(trained_net().state_dict(), path)
        factory.write_text(FACTORY)
        return ExportRequest(
            source=SourceSpec(framework="pytorch", uri=str(path), factory="factory.py:build"),
            path=path,
            factory_path=factory,
            inputs={"x": TensorSpec(shape=("batch", 4))},
        )


class TestStateDict(PyTorchContract):
    """Weights saved by torch.save, which the safe loader takes."""

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path, factory = folder / "model.pt", folder / "factory.py"
        torch.save(trained_net().state_dict(), path)
        factory.write_text(FACTORY)
        return ExportRequest(
            source=SourceSpec(framework="pytorch", uri=str(path), factory="factory.py:build"),
            path=path,
            factory_path=factory,
            inputs={"x": TensorSpec(shape=("batch", 4))},
        )
