"""XNNPACK's kernels for Arm and x86 CPUs, with a thread pool of their own.

Its one option by "XNNPACK Execution Provider, Available Options" of onnxruntime's documentation.
"""

from typing import Final

from slipway.providers.options import whole
from slipway.providers.provider import Asked, Options, Provider


def _options(asked: Asked) -> Options:
    return {"intra_op_num_threads": asked.threads}


XNNPACK: Final = Provider(
    name="xnnpack",
    ort_name="XnnpackExecutionProvider",
    package="onnxruntime built with --use_xnnpack",
    needs="a build of onnxruntime with it; the mobile packages have it",
    precisions=("fp32", "int8-static"),
    options=_options,
    known_options={"intra_op_num_threads": whole(1)},
)
