"""Execution providers: one file and one line of the table each.

`provider` says what is known of one, `options` what its options may be, `sessions.Session` is a
loaded model on one, `signature` reads what a model takes and gives, and `runtime` says which
onnxruntime is installed. onnxruntime itself is imported inside the functions that need it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from slipway.providers.coreml import COREML
from slipway.providers.cpu import CPU
from slipway.providers.cuda import CUDA
from slipway.providers.directml import DIRECTML
from slipway.providers.migraphx import MIGRAPHX
from slipway.providers.openvino import OPENVINO
from slipway.providers.provider import Asked, Options, Provider
from slipway.providers.qnn import QNN
from slipway.providers.rocm import ROCM
from slipway.providers.tensorrt import TENSORRT
from slipway.providers.xnnpack import XNNPACK
from slipway.specs import ProviderName

PROVIDERS: Final[dict[str, Provider]] = {
    "cpu": CPU,
    "openvino": OPENVINO,
    "cuda": CUDA,
    "tensorrt": TENSORRT,
    "migraphx": MIGRAPHX,
    "rocm": ROCM,
    "directml": DIRECTML,
    "coreml": COREML,
    "xnnpack": XNNPACK,
    "qnn": QNN,
}


def allotted_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def check_options(given: Mapping[ProviderName, Options]) -> None:
    """Refuse a spec's options by provider before anything runs, on machines without them too.

    Raises:
        SpecError: naming the option and what it may be.
    """
    asked = Asked(precision="fp32", threads=1, cache=Path())
    for name, options in given.items():
        PROVIDERS[name].settle(asked, options)
