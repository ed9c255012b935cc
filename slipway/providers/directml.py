"""Any DirectX 12 GPU on Windows; it allows neither memory planning nor parallel execution."""

from typing import Final

from slipway.providers.provider import Provider

DIRECTML: Final = Provider(
    name="directml",
    ort_name="DmlExecutionProvider",
    package="onnxruntime-directml",
    needs="Windows 10 or later and a DirectX 12 GPU",
    precisions=("fp16", "fp32"),
    known_options=frozenset(
        {
            *("device_id", "performance_preference", "device_filter", "disable_metacommands"),
            "enable_graph_capture",
        }
    ),
    memory_pattern=False,
)
