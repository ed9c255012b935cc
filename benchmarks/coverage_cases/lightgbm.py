"""LightGBM: the objectives and boosters of the tests' table, beside onnxmltools."""

from benchmarks.coverage_cases.onnxmltools import onnxmltools_call
from benchmarks.coverage_judge import Framework, cases_of, saved_by

FRAMEWORK = Framework(
    cases_of("lightgbm_models"),
    saved_by("lightgbm_models"),
    onnxmltools_call("lightgbm", lambda model: model.num_feature()),
)
