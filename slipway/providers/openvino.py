"""Intel's OpenVINO, on CPUs, GPUs and NPUs; its package takes the place of onnxruntime."""

from typing import Final

from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    """The CPU with the asked threads, computing fp32 as fp32 rather than as bfloat16."""
    precision = "FP32" if asked.precision == "fp32" else "ACCURACY"
    return {"device_type": "CPU", "num_of_threads": asked.threads, "precision": precision}


OPENVINO: Final = Provider(
    name="openvino",
    ort_name="OpenVINOExecutionProvider",
    package="onnxruntime-openvino",
    needs="an x86-64 CPU, or an Intel GPU or NPU; an environment without onnxruntime itself",
    precisions=("int8-static", "fp16", "fp32"),
    options=_options,
    known_options=frozenset(
        {
            *("device_type", "precision", "num_of_threads", "num_streams", "cache_dir"),
            *("load_config", "context", "model_priority", "enable_opencl_throttling"),
            *("enable_qdq_optimizer", "disable_dynamic_shapes", "reshape_input", "layout"),
        }
    ),
    ran="an AMD EPYC",
)
