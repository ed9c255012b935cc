"""onnxruntime's own kernels on the processor: there everywhere, and the baseline of all others."""

from typing import Final

from slipway.providers.provider import Provider

CPU: Final = Provider(
    name="cpu",
    ort_name="CPUExecutionProvider",
    package="onnxruntime",
    needs="nothing",
    precisions=("int8-static", "int8-dynamic", "fp32"),
    known_options=frozenset({"use_arena"}),
    ran="an AMD EPYC",
)
