"""XGBoost: the objectives and boosters of the tests' table, beside onnxmltools."""

from benchmarks.coverage_cases.onnxmltools import onnxmltools_call
from benchmarks.coverage_judge import Framework, cases_of, saved_by

FRAMEWORK = Framework(
    cases_of("models.xgboost"),
    saved_by("models.xgboost"),
    onnxmltools_call("xgboost", lambda model: model.num_features()),
)
