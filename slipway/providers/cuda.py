"""NVIDIA GPUs by CUDA and cuDNN."""

from typing import Final

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
    known_options=frozenset(
        {
            *("device_id", "gpu_mem_limit", "arena_extend_strategy", "cudnn_conv_algo_search"),
            *("do_copy_in_default_stream", "cudnn_conv_use_max_workspace", "use_tf32"),
            *("cudnn_conv1d_pad_to_nc1d", "enable_cuda_graph", "prefer_nhwc", "fuse_conv_bias"),
            *("enable_skip_layer_norm_strict_mode", "use_ep_level_unified_stream", "sdpa_kernel"),
            *("tunable_op_enable", "tunable_op_tuning_enable"),
            *("tunable_op_max_tuning_duration_ms", "user_compute_stream"),
        }
    ),
    device="cuda",
)
