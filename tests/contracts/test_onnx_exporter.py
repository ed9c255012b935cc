"""ONNX sources against the contract: files of this and of the newest IR version."""

from pathlib import Path
from typing import ClassVar

import onnx

from slipway.protocols import ExportRequest
from slipway.specs import Framework
from tests.contracts.exporter_contract import ExporterContract
from tests.models.onnx import request_for, trained_net


class OnnxContract(ExporterContract):
    framework: ClassVar[Framework] = "onnx"
    module: ClassVar[str] = "onnx"
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    outputs: ClassVar[tuple[str, ...]] = ("probabilities",)


class TestFile(OnnxContract):
    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = folder / "net.onnx"
        onnx.save(trained_net(), path)
        return request_for(path)


class TestNewestByDefault(OnnxContract):
    """As onnx 1.23 writes it: an IR version that onnxruntime 1.31 refuses."""

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        path = folder / "net.onnx"
        onnx.save(trained_net(ir_version=14), path)
        return request_for(path)
