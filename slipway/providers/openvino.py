"""Intel's OpenVINO, on CPUs, GPUs and NPUs; its package takes the place of onnxruntime.

Options by "OpenVINO Execution Provider, Configuration Options" of onnxruntime's documentation, each
tried with 1.24.1 on a CPU. Beside what stands there: a boolean is True or False and never a digit;
`precision` on the CPU is FP32 or ACCURACY; and with `MULTI:CPU` float32 is computed in bfloat16.
The documentation calls some of them deprecated in favour of `load_config`; 1.24.1 obeys them.
"""

from collections.abc import Mapping
from typing import Final

from slipway.providers.options import JSON_OBJECT, NAMED_FLAG, TEXT, matching, one_of, whole
from slipway.providers.provider import Asked, Options, Provider

_DEVICE: Final = r"(CPU|NPU|GPU(\.\d+)?)"
# Another precision than these and the provider does not start.
_PRECISIONS: Final = {"CPU": ("FP32", "ACCURACY"), "NPU": ("FP16", "ACCURACY")}


def _options(asked: Asked) -> Options:
    """The CPU with the asked threads, computing fp32 as fp32 rather than as bfloat16."""
    device = str(asked.given.get("device_type", "CPU"))
    whole_float = asked.precision == "fp32" and device != "NPU"
    return {
        "device_type": device,
        "num_of_threads": asked.threads,
        "precision": "FP32" if whole_float else "ACCURACY",
    }


def _clash(options: Mapping[str, str]) -> str | None:
    device, precision = options["device_type"], options["precision"]
    allowed = _PRECISIONS.get(device, (precision,))
    if precision in allowed:
        return None
    return f"on the {device}, precision is {' or '.join(allowed)}, and not {precision}"


OPENVINO: Final = Provider(
    name="openvino",
    ort_name="OpenVINOExecutionProvider",
    package="onnxruntime-openvino",
    needs="an x86-64 CPU, or an Intel GPU or NPU; an environment without onnxruntime itself",
    precisions=("int8-static", "fp16", "fp32"),
    options=_options,
    known_options={
        "device_type": matching(
            rf"{_DEVICE}|(AUTO|HETERO|MULTI):{_DEVICE}(,{_DEVICE})*",
            "CPU, NPU, GPU, GPU.0 or the like, or AUTO:, HETERO: or MULTI: with a list of them",
        ),
        "precision": one_of("FP32", "FP16", "ACCURACY"),
        "num_of_threads": whole(1),
        "num_streams": whole(1, 8),
        "cache_dir": TEXT,
        "load_config": JSON_OBJECT,
        "model_priority": one_of("LOW", "MEDIUM", "HIGH", "DEFAULT"),
        "enable_opencl_throttling": NAMED_FLAG,
        "enable_qdq_optimizer": NAMED_FLAG,
        "disable_dynamic_shapes": NAMED_FLAG,
        "reshape_input": matching(
            r"\w[^\[\]]*\[[^\[\]]+\].*", "NAME[SHAPE], such as x[1,3,64..224]"
        ),
        "layout": matching(r"\w[^\[\]]*\[[^\[\]]+\].*", "NAME[LAYOUT], such as x[NCHW]"),
    },
    clash=_clash,
    ran="an AMD EPYC",
)
