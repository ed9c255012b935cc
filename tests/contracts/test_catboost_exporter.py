"""CatBoost sources against the contract: classes with names, columns, trees that branch freely."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("catboost", reason="the extra catboost is not installed")

from slipway.protocols import ExportRequest
from slipway.specs import Framework
from tests.contracts.exporter_contract import ExporterContract
from tests.models import catboost as catboost_models


class CatBoostContract(ExporterContract):
    framework: ClassVar[Framework] = "catboost"
    module: ClassVar[str] = "catboost"


class TestClassifier(CatBoostContract):
    """Three classes called by strings, from a matrix."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return catboost_models.save(catboost_models.CASES["MultiClass names"](), folder)


class TestColumns(CatBoostContract):
    """Named columns."""

    inputs: ClassVar[tuple[str, ...]] = ("age", "in come", "höhe", "code")
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return catboost_models.save(catboost_models.named(), folder)


class TestRegressor(CatBoostContract):
    """Trees that are not symmetric."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("prediction",)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return catboost_models.save(catboost_models.CASES["Lossguide"](), folder)
