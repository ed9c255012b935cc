"""Framework to ONNX: one file and one line of the table each.

`export` is what the isolated child runs. Every exporter loads its source safely, records the golden
set from the source itself, converts, and leaves a cleaned `model.onnx`. `recording` makes golden
inputs, `naming` and `cleaning` make graphs the same whoever exported them.

What a source file may hold is decided before it is loaded: `archives` looks at its members,
`programs` at the text of a .pt2, and `pytorch_files` and `sklearn_files` load what is left.

XGBoost, LightGBM and CatBoost share a way: each one's `..._files` reads a file into the values of
`trees`, and `tree_export` makes the graph, the names and the golden set of them; what the readers
have in common is in `tree_files`. `keras_files` and `saved_models` do both for TensorFlow's
formats.
"""

import importlib
from pathlib import Path
from typing import Final

from slipway.errors import EnvironmentMissing
from slipway.protocols import (
    Exporter,
    ExportRequest,
    ExportResult,
    Tracer,
    TraceRequest,
    TraceResult,
)
from slipway.specs import Framework

EXPORTERS: Final[dict[Framework, str]] = {
    "pytorch": "slipway.exporters.pytorch",
    "sklearn": "slipway.exporters.sklearn",
    "xgboost": "slipway.exporters.xgboost",
    "lightgbm": "slipway.exporters.lightgbm",
    "catboost": "slipway.exporters.catboost",
    "onnx": "slipway.exporters.onnx",
    "transformers": "slipway.exporters.transformers",
    "keras": "slipway.exporters.keras",
    "tensorflow": "slipway.exporters.tensorflow",
}

TOOLS: Final[dict[Framework, tuple[str, ...]]] = {
    "pytorch": ("torch", "onnxscript"),
    "sklearn": ("scikit-learn", "skl2onnx"),
    "xgboost": ("xgboost", "xgboost-cpu"),
    "lightgbm": ("lightgbm",),
    "catboost": ("catboost",),
    "onnx": ("onnx", "onnxruntime"),
    "transformers": ("transformers", "torch", "onnxscript"),
    "keras": ("keras", "tensorflow", "tf2onnx"),
    "tensorflow": ("tensorflow", "tf2onnx"),
}
"""The packages that decide what a framework's exporter writes."""

TRACERS: Final[dict[Framework, str]] = {
    "pytorch": "slipway.exporters.torch_traces",
    "transformers": "slipway.exporters.transformers_traces",
    "keras": "slipway.exporters.keras_traces",
    "tensorflow": "slipway.exporters.tensorflow_traces",
}
"""What records a source's values inside, for frameworks that can: `slipway.protocols.Tracer`."""

# Peak memory of the converter, as a multiple of the model's size, where it is far from the usual.
MEMORY_FACTORS: Final[dict[Framework, tuple[int, int]]] = {
    "keras": (50, 90),
    "tensorflow": (50, 90),
}


def memory_advice(framework: Framework, source_bytes: int) -> str:
    """What to expect of a framework's converter, for the message of one that ran out of memory."""
    if framework not in MEMORY_FACTORS:
        return ""
    low, high = MEMORY_FACTORS[framework]
    low_gib, high_gib = (factor * source_bytes / 2**30 for factor in (low, high))
    return (
        f". A {framework} model takes {low} to {high} times its size while it is converted: about "
        f"{low_gib:.1f} to {high_gib:.1f} GiB for this one"
    )


def export(request: ExportRequest, scratch: Path) -> ExportResult:
    """Export a source with its framework's exporter.

    Raises:
        EnvironmentMissing: naming the extra to install when the framework is not there.
        UntrustedSource, UnreadableModel, ExportFailed, DataError: as the exporter says.
    """
    framework = request.source.known_framework

    try:
        from slipway.exporters.opset_policy import export_by_policy

        exporter: Exporter = importlib.import_module(EXPORTERS[framework]).export
    except ModuleNotFoundError as error:
        raise EnvironmentMissing(
            f"{framework} export needs {error.name!r}: pip install 'slipway[{framework}]'"
        ) from error
    return export_by_policy(exporter, request, scratch)


def trace(request: TraceRequest, scratch: Path) -> TraceResult:
    """Record what a source computes inside for one golden case, with its framework's tracer.

    Raises:
        SlipwayError: as its exporter does.
    """
    framework = request.export.source.known_framework
    tracer: Tracer = importlib.import_module(TRACERS[framework]).trace
    return tracer(request, scratch)
