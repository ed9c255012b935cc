"""NVIDIA GPUs by CUDA and cuDNN.

Options by "CUDA Execution Provider, Configuration Options" of onnxruntime's documentation, all of
them found in the library of onnxruntime-gpu 1.31.1.
"""

from typing import Final

from slipway.providers.options import FLAG, one_of, whole
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:  # noqa: ARG001 - the same for all
    """TensorFloat-32 is off, so that fp32 means fp32; convolutions are chosen by trying."""
    return {"device_id": 0, "use_tf32": False, "cudnn_conv_algo_search": "EXHAUSTIVE"}


CUDA: Final = Provider(
    name="cuda",
    ort_name="CUDAExecutionProvider",
    package="onnxruntime-gpu[cuda,cudnn]",
    needs="an NVIDIA GPU and a driver for CUDA 13; cuDNN 9 comes with the extras",
    precisions=("fp16", "fp32", "int8-static"),
    options=_options,
    known_options={
        "device_id": whole(),
        "gpu_mem_limit": whole(1),
        "arena_extend_strategy": one_of("kNextPowerOfTwo", "kSameAsRequested"),
        "cudnn_conv_algo_search": one_of("EXHAUSTIVE", "HEURISTIC", "DEFAULT"),
        "cudnn_conv_use_max_workspace": FLAG,
        "cudnn_conv1d_pad_to_nc1d": FLAG,
        "do_copy_in_default_stream": FLAG,
        "use_ep_level_unified_stream": FLAG,
        "enable_cuda_graph": FLAG,
        "enable_skip_layer_norm_strict_mode": FLAG,
        "fuse_conv_bias": FLAG,
        "prefer_nhwc": FLAG,
        "sdpa_kernel": whole(),
        "use_tf32": FLAG,
        "tunable_op_enable": FLAG,
        "tunable_op_tuning_enable": FLAG,
        "tunable_op_max_tuning_duration_ms": whole(),
    },
    device="cuda",
)
