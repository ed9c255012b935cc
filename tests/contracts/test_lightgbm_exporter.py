"""LightGBM sources against the contract: classes, columns with names, categories and planes."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("lightgbm", reason="the extra lightgbm is not installed")

from slipway.protocols import ExportRequest
from slipway.specs import Framework
from tests.contracts.exporter_contract import ExporterContract
from tests.models import lightgbm as lightgbm_models


class LightGBMContract(ExporterContract):
    framework: ClassVar[Framework] = "lightgbm"
    module: ClassVar[str] = "lightgbm"


class TestClassifier(LightGBMContract):
    """Three classes from a matrix."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return lightgbm_models.save(lightgbm_models.CASES["multiclass"](), folder)


class TestColumns(LightGBMContract):
    """Named columns."""

    inputs: ClassVar[tuple[str, ...]] = ("age", "income", "height", "code")
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return lightgbm_models.save(lightgbm_models.named(), folder)


class TestPlanes(LightGBMContract):
    """A regressor with a plane in each leaf."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("prediction",)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return lightgbm_models.save(lightgbm_models.CASES["linear_tree"](), folder)
