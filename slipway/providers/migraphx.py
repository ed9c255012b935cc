"""AMD GPUs by MIGraphX, which compiles the graph."""

from typing import Final

from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """Half precision and INT8 kernels for those variants alone."""
    return {
        "device_id": 0,
        "migraphx_fp16_enable": asked.precision == "fp16",
        "migraphx_int8_enable": asked.precision.startswith("int8"),
    }


MIGRAPHX: Final = Provider(
    name="migraphx",
    ort_name="MIGraphXExecutionProvider",
    package="onnxruntime-migraphx",
    needs="an AMD GPU with ROCm and MIGraphX",
    precisions=("fp16", "fp32", "int8-static"),
    options=_options,
    known_options=frozenset(
        {
            *("device_id", "migraphx_fp16_enable", "migraphx_fp8_enable", "migraphx_int8_enable"),
            *("migraphx_int8_calibration_table_name", "migraphx_use_native_calibration_table"),
            *("migraphx_save_compiled_model", "migraphx_save_model_path"),
            *("migraphx_load_compiled_model", "migraphx_load_model_path"),
            *("migraphx_exhaustive_tune", "migraphx_mem_limit", "migraphx_arena_extend_strategy"),
        }
    ),
    device="cuda",
)
