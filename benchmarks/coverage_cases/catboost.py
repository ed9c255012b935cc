"""CatBoost: the losses of the tests' table, beside its own ONNX writer."""

from pathlib import Path
from typing import Any

from benchmarks.coverage_judge import Framework, cases_of, saved_by
from slipway.protocols import ExportRequest


def _own_writer(model: Any, _: ExportRequest, folder: Path) -> Path:  # noqa: ANN401 - a CatBoost
    """CatBoost's `save_model(format="onnx")`."""
    model.save_model(str(folder / "plain.onnx"), format="onnx")
    return folder / "plain.onnx"


FRAMEWORK = Framework(cases_of("models.catboost"), saved_by("models.catboost"), _own_writer)
