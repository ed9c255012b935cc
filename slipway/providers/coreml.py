"""Apple's CPU, GPU and Neural Engine.

Options by "CoreML Execution Provider, Configuration Options" of onnxruntime's documentation and by
`coreml_options.cc`, all of them found in onnxruntime 1.31.1 for macOS, which reads a boolean as
true only where it is written 1.
"""

from typing import Final

from slipway.providers.options import FLAG, TEXT, one_of
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """The newer program format, on every compute unit, compiled models kept."""
    return {
        "ModelFormat": "MLProgram",
        "MLComputeUnits": "ALL",
        "ModelCacheDirectory": str(asked.cache),
    }


COREML: Final = Provider(
    name="coreml",
    ort_name="CoreMLExecutionProvider",
    package="onnxruntime",
    needs="macOS 12 or later; best with fixed shapes",
    precisions=("fp16", "fp32"),
    options=_options,
    known_options={
        "ModelFormat": one_of("MLProgram", "NeuralNetwork"),
        "MLComputeUnits": one_of("ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine"),
        "RequireStaticInputShapes": FLAG,
        "EnableOnSubgraphs": FLAG,
        "SpecializationStrategy": one_of("Default", "FastPrediction"),
        "ProfileComputePlan": FLAG,
        "AllowLowPrecisionAccumulationOnGPU": FLAG,
        "ModelCacheDirectory": TEXT,
    },
)
