"""AMD GPUs by ROCm's kernels; onnxruntime dropped it after 1.22, and `migraphx` took its place.

Options by "ROCm Execution Provider, Configuration Options" of onnxruntime's documentation and by
`OrtROCMProviderOptions` of its C API at 1.22.
"""

from typing import Final

from slipway.providers.options import FLAG, one_of, whole
from slipway.providers.provider import Provider

ROCM: Final = Provider(
    name="rocm",
    ort_name="ROCMExecutionProvider",
    package="onnxruntime-rocm",
    needs="an AMD GPU, ROCm, and onnxruntime-rocm up to 1.22; later ones have migraphx instead",
    precisions=("fp16", "fp32"),
    known_options={
        "device_id": whole(),
        "gpu_mem_limit": whole(1),
        "arena_extend_strategy": one_of("kNextPowerOfTwo", "kSameAsRequested"),
        "do_copy_in_default_stream": FLAG,
        "miopen_conv_exhaustive_search": FLAG,
        "miopen_conv_use_max_workspace": FLAG,
        "enable_hip_graph": FLAG,
        "tunable_op_enable": FLAG,
        "tunable_op_tuning_enable": FLAG,
        "tunable_op_max_tuning_duration_ms": whole(),
    },
    device="cuda",
)
