"""scikit-learn sources against the contract: an array, columns of all kinds, a table."""

from pathlib import Path
from typing import ClassVar

from slipway.protocols import ExportRequest
from slipway.specs import Framework, Tolerance
from tests.contracts.exporter_contract import ExporterContract
from tests.models import sklearn as sklearn_models


class SklearnContract(ExporterContract):
    framework: ClassVar[Framework] = "sklearn"
    module: ClassVar[str] = "skl2onnx"


class TestClassifier(SklearnContract):
    """One array in, string labels and probabilities out."""

    inputs: ClassVar[tuple[str, ...]] = ("X",)
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return sklearn_models.save(sklearn_models.classifier(), folder)


class TestColumns(SklearnContract):
    """A Pipeline over whole numbers, floats and strings: one input a column."""

    inputs: ClassVar[tuple[str, ...]] = ("age", "income", "city")
    outputs: ClassVar[tuple[str, ...]] = ("label", "probabilities")

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        return sklearn_models.save(sklearn_models.pipeline(), folder, data=sklearn_models.columns())


class TestRegressor(SklearnContract):
    """A boosted regressor fitted on a table, with no ColumnTransformer to pick its columns."""

    inputs: ClassVar[tuple[str, ...]] = ("age", "income")
    outputs: ClassVar[tuple[str, ...]] = ("prediction",)
    tolerance: ClassVar[Tolerance] = Tolerance(rtol=1e-4, atol=1e-4)

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        data = {name: sklearn_models.columns()[name] for name in ("age", "income")}
        return sklearn_models.save(sklearn_models.regressor(), folder, data=data)
