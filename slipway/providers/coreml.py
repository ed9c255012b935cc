"""Apple's CPU, GPU and Neural Engine."""

from typing import Final

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
    known_options=frozenset(
        {
            *("ModelFormat", "MLComputeUnits", "RequireStaticInputShapes", "EnableOnSubgraphs"),
            *("SpecializationStrategy", "ProfileComputePlan", "ModelCacheDirectory"),
            "AllowLowPrecisionAccumulationOnGPU",
        }
    ),
)
