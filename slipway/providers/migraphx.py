"""AMD GPUs by MIGraphX, which compiles the graph.

Options by "MIGraphX Execution Provider, Configuration Options" of onnxruntime's documentation and
by the library of onnxruntime-migraphx 1.27.1.
"""

from typing import Final

from slipway.providers.options import FLAG, TEXT, one_of, whole
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """Compiled models are kept; no flag lowers the precision.

    `migraphx_fp16_enable` makes half precision of the whole graph, and so of the operators that a
    variant leaves in float32 for their range; fp16 and quantized graphs hold their types already.
    """
    return {"device_id": 0, "migraphx_model_cache_dir": str(asked.cache)}


MIGRAPHX: Final = Provider(
    name="migraphx",
    ort_name="MIGraphXExecutionProvider",
    package="onnxruntime-migraphx",
    needs="an AMD GPU with ROCm and MIGraphX",
    precisions=("fp16", "fp32", "int8-static"),
    options=_options,
    known_options={
        "device_id": whole(),
        "migraphx_fp16_enable": FLAG,
        "migraphx_bf16_enable": FLAG,
        "migraphx_fp8_enable": FLAG,
        "migraphx_int8_enable": FLAG,
        "migraphx_int8_calibration_table_name": TEXT,
        "migraphx_int8_use_native_calibration_table": FLAG,
        "migraphx_model_cache_dir": TEXT,
        "migraphx_exhaustive_tune": FLAG,
        "migraphx_mem_limit": whole(1),
        "migraphx_arena_extend_strategy": one_of("kNextPowerOfTwo", "kSameAsRequested"),
    },
    device="gpu",  # from 1.27 on, "cuda" is an NVIDIA one there as well
)
