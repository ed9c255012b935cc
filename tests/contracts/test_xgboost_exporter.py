"""XGBoost sources against the contract: a classifier, columns with names, a ranker."""

from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

from slipway.protocols import ExportRequest
from slipway.specs import Framework
from tests.contracts.exporter_contract import ExporterContract
from tests.models import xgboost as xgboost_models


class XGBoostContract(ExporterContract):
    framework: ClassVar[Framework] = "xgboost"
    module: ClassVar[str] = "xgboost"


class TestClassifier(XGBoostContract):
    """Three classes from a matrix, as UBJ."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return xgboost_models.save(xgboost_models.CASES["multi:softprob"](), folder)


class TestColumns(XGBoostContract):
    """Named columns, as JSON."""

    inputs: ClassVar[tuple[str, ...]] = ("age", "in come", "höhe", "code")
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return xgboost_models.save(xgboost_models.named(), folder, form="json")


class TestRanker(XGBoostContract):
    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("scores",)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return xgboost_models.save(xgboost_models.CASES["rank:ndcg"](), folder)
