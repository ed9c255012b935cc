"""The words that specs and reports share: frameworks, precisions, metrics, types, names."""

import re
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field

Framework = Literal[
    "pytorch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "catboost",
    "onnx",
    "transformers",
    "keras",
    "tensorflow",
]
Precision = Literal["fp32", "fp32-optimized", "fp16", "int8-dynamic", "int8-static", "int4-weights"]
CalibrationMethod = Literal["mse", "minmax", "percentile", "entropy"]
Target = Literal["x64", "x64-vnni", "arm64", "gpu"]
Metric = Literal["accuracy", "f1", "auc", "rmse", "mae", "r2", "cosine", "top5"]
DType = Literal[
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "string"
]

ProviderName = Literal[
    "cpu",
    "openvino",
    "cuda",
    "tensorrt",
    "migraphx",
    "rocm",
    "directml",
    "coreml",
    "xnnpack",
    "qnn",
]
Scenario = Literal["single-stream", "offline", "server"]
Optimization = Literal["none", "basic", "extended", "all"]
ExecutionMode = Literal["sequential", "parallel"]
OptionValue = bool | int | float | str
# What Prefect takes as a name of its objects, so that a typo is told before a run starts.
PoolName = Annotated[str, Field(pattern=r"^[^/%&<>]+$", max_length=120)]

FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
QUANTIZED: frozenset[Precision] = frozenset({"int8-dynamic", "int8-static", "int4-weights"})
"""Precisions that are judged by the task metric, since their raw outputs are off by design."""
LOWER_IS_BETTER: frozenset[Metric] = frozenset({"rmse", "mae"})

MIN_OPSET: Final = 11
MAX_OPSET: Final = 26
"""What onnxruntime 1.31 runs; onnx 1.23 would write 28. A test asks the runtime on both sides."""


def _check_alias(alias: str) -> str:
    if re.fullmatch(r"latest|v\d+", alias, flags=re.IGNORECASE):
        raise ValueError(f"{alias!r} is reserved; choose a name such as challenger")
    return alias


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]

# MLflow keeps `latest` and `v1` for itself, and takes no dots.
Alias = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=120),
    AfterValidator(_check_alias),
]


def _check_opset(opset: int) -> int:
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ValueError(
            f"exporters write opset {MIN_OPSET} and later, and the highest that onnxruntime runs "
            f"is {MAX_OPSET}; 18 is the default"
        )
    return opset


Opset = Annotated[
    int,
    AfterValidator(_check_opset),
    Field(json_schema_extra={"minimum": MIN_OPSET, "maximum": MAX_OPSET}),
]
