"""NVIDIA GPUs by TensorRT, which compiles an engine for each shape and keeps it in a cache.

Options by "TensorRT Execution Provider, Execution Provider Options" of onnxruntime's documentation,
all of them found in the library of onnxruntime-gpu 1.31.1. Those that decrypt engines or write
contexts and subgraphs to files are left out: they are for deploying, and decide no latency.
"""

from typing import Final

from slipway.providers.options import FLAG, TEXT, whole
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """Engines and tactics are cached; FP16 and INT8 kernels only for variants of those types."""
    int8 = asked.precision.startswith("int8")
    return {
        "device_id": 0,
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(asked.cache),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(asked.cache),
        "trt_fp16_enable": asked.precision == "fp16" or int8,
        "trt_int8_enable": int8,
    }


_FLAGS: Final = (
    *("trt_fp16_enable", "trt_bf16_enable", "trt_int8_enable", "trt_dla_enable"),
    *("trt_int8_use_native_calibration_table", "trt_engine_cache_enable"),
    *("trt_timing_cache_enable", "trt_force_timing_cache", "trt_context_memory_sharing_enable"),
    *("trt_layer_norm_fp32_fallback", "trt_force_sequential_engine_build"),
    *("trt_detailed_build_log", "trt_build_heuristics_enable", "trt_sparsity_enable"),
    *("trt_cuda_graph_enable", "trt_engine_hw_compatible", "trt_weight_stripped_engine_enable"),
)
_TEXTS: Final = (
    *("trt_int8_calibration_table_name", "trt_engine_cache_path", "trt_engine_cache_prefix"),
    *("trt_timing_cache_path", "trt_tactic_sources", "trt_extra_plugin_lib_paths"),
    *("trt_profile_min_shapes", "trt_profile_max_shapes", "trt_profile_opt_shapes"),
    *("trt_op_types_to_exclude", "trt_preview_features"),
)

TENSORRT: Final = Provider(
    name="tensorrt",
    ort_name="TensorrtExecutionProvider",
    package="onnxruntime-gpu[cuda,cudnn]",
    needs="an NVIDIA GPU, CUDA 13, and TensorRT's libraries, which are not on PyPI",
    precisions=("fp16", "int8-static", "fp32"),
    options=_options,
    known_options={
        **dict.fromkeys(_FLAGS, FLAG),
        **dict.fromkeys(_TEXTS, TEXT),
        "device_id": whole(),
        "trt_max_workspace_size": whole(),
        "trt_max_partition_iterations": whole(1),
        "trt_min_subgraph_size": whole(1),
        "trt_dla_core": whole(),
        "trt_builder_optimization_level": whole(0, 5),
        "trt_auxiliary_streams": whole(-1),
    },
    device="cuda",
    behind=("cuda",),
)
