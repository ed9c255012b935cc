"""Qualcomm's Hexagon processors; for quantized models with fixed shapes.

Options by "QNN Execution Provider, Configuration Options" of onnxruntime's documentation, all of
them found in the library of onnxruntime-qnn 1.24.4, the last with the provider built in: from 2.0
on the package is a plug-in that a session has to register first, which is not done here.
"""

from collections.abc import Mapping
from typing import Final

from slipway.providers.options import FLAG, TEXT, one_of, whole
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """The HTP backend at full speed; float models in half precision, which is all that it has."""
    backend = {} if "backend_path" in asked.given else {"backend_type": "htp"}
    return {
        **backend,
        "htp_performance_mode": "burst",
        "enable_htp_fp16_precision": not asked.precision.startswith("int8"),
    }


def _clash(options: Mapping[str, str]) -> str | None:
    if {"backend_type", "backend_path"} <= options.keys():
        return "backend_type and backend_path exclude each other"
    return None


QNN: Final = Provider(
    name="qnn",
    ort_name="QNNExecutionProvider",
    package="onnxruntime-qnn<2",
    needs="a Qualcomm Snapdragon with Hexagon, on Windows on Arm or Android; fixed shapes",
    precisions=("int8-static", "fp16"),
    options=_options,
    known_options={
        "backend_type": one_of("htp", "cpu", "gpu", "saver", "ir"),
        "backend_path": TEXT,
        "profiling_level": one_of("off", "basic", "detailed", "optrace"),
        "profiling_file_path": TEXT,
        "rpc_control_latency": whole(),
        "vtcm_mb": whole(),
        "htp_performance_mode": one_of(
            *("burst", "balanced", "default", "high_performance", "high_power_saver"),
            *("low_balanced", "low_power_saver", "power_saver", "extreme_power_saver"),
            "sustained_high_performance",
        ),
        "htp_graph_finalization_optimization_mode": whole(0, 3),
        "htp_arch": whole(),
        "htp_bf16_enable": FLAG,
        "qnn_context_priority": one_of("low", "normal", "normal_high", "high"),
        "soc_model": whole(),
        "device_id": whole(),
        "enable_htp_fp16_precision": FLAG,
        "enable_htp_shared_memory_allocator": FLAG,
        "enable_htp_spill_fill_buffer": FLAG,
        "offload_graph_io_quantization": FLAG,
        "extended_udma": FLAG,
    },
    clash=_clash,
)
