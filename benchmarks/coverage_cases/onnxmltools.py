"""The plain call of onnxmltools, which XGBoost and LightGBM share; no cases of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from slipway.protocols import ExportRequest


def onnxmltools_call(name: str, count: Callable[[Any], int]) -> Callable[..., Path]:
    """`onnxmltools.convert_NAME` as its documentation calls it."""

    def convert(model: Any, _: ExportRequest, folder: Path) -> Path:  # noqa: ANN401 - a booster
        import onnxmltools
        from onnxmltools.convert.common.data_types import FloatTensorType

        made = getattr(onnxmltools, f"convert_{name}")(
            model, initial_types=[("X", FloatTensorType([None, count(model)]))]
        )
        onnx.save(made, folder / "plain.onnx")
        return folder / "plain.onnx"

    return convert
