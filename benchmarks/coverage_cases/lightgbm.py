"""LightGBM: the objectives and boosters of the tests' table, beside onnxmltools."""

from benchmarks.coverage_cases.onnxmltools import onnxmltools_call
from benchmarks.coverage_judge import Framework, cases_of, saved_by

FRAMEWORK = Framework(
    cases_of("models.lightgbm"),
    saved_by("models.lightgbm"),
    onnxmltools_call("lightgbm", lambda model: model.num_feature()),
)
