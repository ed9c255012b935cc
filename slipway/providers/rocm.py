"""AMD GPUs by ROCm's kernels; onnxruntime dropped it after 1.22, and `migraphx` took its place."""

from typing import Final

from slipway.providers.provider import Provider

ROCM: Final = Provider(
    name="rocm",
    ort_name="ROCMExecutionProvider",
    package="onnxruntime-rocm",
    needs="an AMD GPU, ROCm, and onnxruntime-rocm up to 1.22; later ones have migraphx instead",
    precisions=("fp16", "fp32"),
    known_options=frozenset(
        {
            *("device_id", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream"),
            *("miopen_conv_exhaustive_search", "miopen_conv_use_max_workspace"),
            *("tunable_op_enable", "tunable_op_tuning_enable", "user_compute_stream"),
            *("tunable_op_max_tuning_duration_ms", "enable_hip_graph"),
        }
    ),
    device="cuda",
)
