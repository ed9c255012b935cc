"""Qualcomm's Hexagon processors; for quantized models with fixed shapes."""

from typing import Final

from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """The HTP backend at full speed; float models in half precision, which is all that it has."""
    return {
        "backend_type": "htp",
        "htp_performance_mode": "burst",
        "enable_htp_fp16_precision": not asked.precision.startswith("int8"),
    }


QNN: Final = Provider(
    name="qnn",
    ort_name="QNNExecutionProvider",
    package="onnxruntime-qnn",
    needs="a Qualcomm Snapdragon with Hexagon, on Windows on Arm, Linux or Android; fixed shapes",
    precisions=("int8-static", "fp16"),
    options=_options,
    known_options=frozenset(
        {
            *("backend_type", "backend_path", "profiling_level", "profiling_file_path"),
            *("rpc_control_latency", "vtcm_mb", "htp_performance_mode", "qnn_context_priority"),
            *("htp_graph_finalization_optimization_mode", "soc_model", "htp_arch", "device_id"),
            *("enable_htp_fp16_precision", "offload_graph_io_quantization"),
            *("enable_htp_spill_fill_buffer", "enable_htp_shared_memory_allocator"),
        }
    ),
)
