"""Any DirectX 12 GPU on Windows; it allows neither memory planning nor parallel execution.

Options by "DirectML Execution Provider, Configuration Options" of onnxruntime's documentation and
by `dml_provider_factory.cc`, all of them found in the library of onnxruntime-directml 1.24.4.
Graph capture is no provider option there but an entry of the session, ep.dml.enable_graph_capture.
"""

from collections.abc import Mapping
from typing import Final

from slipway.providers.options import NAMED_FLAG, one_of, whole
from slipway.providers.provider import Provider


def _clash(options: Mapping[str, str]) -> str | None:
    """An adapter that is named by number is not searched for."""
    searched = sorted({"performance_preference", "device_filter"} & options.keys())
    if "device_id" in options and searched:
        return f"device_id names the adapter, so that {' and '.join(searched)} would be ignored"
    return None


DIRECTML: Final = Provider(
    name="directml",
    ort_name="DmlExecutionProvider",
    package="onnxruntime-directml",
    needs="Windows 10 or later and a DirectX 12 GPU",
    precisions=("fp16", "fp32"),
    known_options={
        "device_id": whole(),
        "performance_preference": one_of("default", "high_performance", "minimum_power"),
        "device_filter": one_of("gpu", "npu", "any"),
        "disable_metacommands": NAMED_FLAG,
    },
    clash=_clash,
    memory_pattern=False,
)
