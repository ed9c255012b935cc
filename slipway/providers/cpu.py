"""onnxruntime's own kernels on the processor: there everywhere, and the baseline of all others.

It takes no provider options at all, and ignores what it is given; `use_arena`, by the name of its C
function `OrtSessionOptionsAppendExecutionProvider_CPU`, is `enable_cpu_mem_arena` of the session.
"""

from typing import Final

from slipway.providers.options import FLAG
from slipway.providers.provider import Provider

CPU: Final = Provider(
    name="cpu",
    ort_name="CPUExecutionProvider",
    package="onnxruntime",
    needs="nothing",
    precisions=("int8-static", "int8-dynamic", "fp32"),
    known_options={"use_arena": FLAG},
    ran="an AMD EPYC",
)
