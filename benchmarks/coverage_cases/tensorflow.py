"""TensorFlow: the models of the Keras cases as SavedModels, beside tf2onnx's own command."""

import sys
from pathlib import Path

from benchmarks.coverage_cases.keras import own_answers
from benchmarks.coverage_judge import Framework
from slipway.exporters.tensorflow_runtime import tf2onnx
from slipway.protocols import ExportRequest
from tests import keras_cases
from tests.keras_cases import Case


def _command(case: Case, request: ExportRequest, folder: Path) -> Path:
    """`python -m tf2onnx.convert --saved-model FOLDER --output FILE`, in this process."""
    path = folder / "plain.onnx"
    arguments = ["tf2onnx.convert", "--saved-model", str(request.path), "--output", str(path)]
    if case.as_nchw:
        arguments += ["--inputs-as-nchw", ",".join(f"{name}:0" for name in case.as_nchw)]
    given, sys.argv = sys.argv, arguments
    try:
        tf2onnx.convert.main()
    finally:
        sys.argv = given
    return path


FRAMEWORK = Framework(
    lambda: keras_cases.CASES, keras_cases.save_folder, _command, own_answers, group=50
)
