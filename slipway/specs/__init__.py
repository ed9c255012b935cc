"""What is asked: the release spec, as YAML, as a form in the Prefect UI, or in Python.

Every default is stated here and nowhere else. No work is done on models here.

`release` is the whole; `sources` (with `addresses`), `precisions`, `judging`, `measuring` and
`promoting` are its parts; `words` are those that reports use too; `loading` reads a spec's file,
`mistakes` explains a wrong one. Import from here.
"""

from slipway.specs.addresses import REGISTRY_SCHEMES, file_name, local_path, scheme_of
from slipway.specs.judging import BudgetSpec, ParitySpec, Tolerance, is_close_or_better
from slipway.specs.loading import (
    PATH_FIELDS,
    load_policy,
    load_regression,
    load_spec,
    resolve_paths,
)
from slipway.specs.measuring import BenchmarkSpec, SweepSpec
from slipway.specs.precisions import (
    Fp16Spec,
    Fp32OptimizedSpec,
    Fp32Spec,
    Int4WeightsSpec,
    Int8DynamicSpec,
    Int8StaticSpec,
    PrecisionSpec,
    PrecisionsSpec,
)
from slipway.specs.promoting import Destination, PolicySpec, PromotionRequest, RollbackRequest
from slipway.specs.regression import MatrixSpec, RegressionSpec, ToolchainSpec, regression_spec
from slipway.specs.release import RegisterSpec, ReleaseSpec
from slipway.specs.sources import DataSpec, SourceSpec, TensorSpec, check_names
from slipway.specs.words import (
    FRAMEWORKS,
    LOWER_IS_BETTER,
    MAX_OPSET,
    MIN_OPSET,
    PRECISIONS,
    QUANTIZED,
    Alias,
    CalibrationMethod,
    DType,
    ExecutionMode,
    Framework,
    Metric,
    Name,
    Opset,
    Optimization,
    OptionValue,
    Precision,
    ProviderName,
    Scenario,
    Target,
)

__all__ = [
    "FRAMEWORKS",
    "LOWER_IS_BETTER",
    "MAX_OPSET",
    "MIN_OPSET",
    "PATH_FIELDS",
    "PRECISIONS",
    "QUANTIZED",
    "REGISTRY_SCHEMES",
    "Alias",
    "BenchmarkSpec",
    "BudgetSpec",
    "CalibrationMethod",
    "DType",
    "DataSpec",
    "Destination",
    "ExecutionMode",
    "Fp16Spec",
    "Fp32OptimizedSpec",
    "Fp32Spec",
    "Framework",
    "Int4WeightsSpec",
    "Int8DynamicSpec",
    "Int8StaticSpec",
    "MatrixSpec",
    "Metric",
    "Name",
    "Opset",
    "Optimization",
    "OptionValue",
    "ParitySpec",
    "PolicySpec",
    "Precision",
    "PrecisionSpec",
    "PrecisionsSpec",
    "PromotionRequest",
    "ProviderName",
    "RegisterSpec",
    "RegressionSpec",
    "ReleaseSpec",
    "RollbackRequest",
    "Scenario",
    "SourceSpec",
    "SweepSpec",
    "Target",
    "TensorSpec",
    "Tolerance",
    "ToolchainSpec",
    "check_names",
    "file_name",
    "is_close_or_better",
    "load_policy",
    "load_regression",
    "load_spec",
    "local_path",
    "regression_spec",
    "resolve_paths",
    "scheme_of",
]
