"""TensorFlow: a model of each Keras layer class as a SavedModel, beside tf2onnx's own command."""

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.coverage_cases.keras import own_answers
from benchmarks.coverage_judge import Framework
from slipway.exporters.tensorflow_runtime import tf2onnx
from slipway.protocols import ExportRequest
from tests import keras_cases
from tests.keras_cases import Case


def _cases() -> dict[str, Callable[[], Case]]:
    """The first case of each class but those that do nothing outside training; whole models."""
    found: dict[str, Callable[[], Case]] = {}
    classes: set[str] = set()
    for name, make in keras_cases.CASES.items():
        kind = name.partition(" ")[0]
        first = kind not in classes and not kind.startswith(("Random", "SpatialDropout"))
        if first or kind in {"Sequential", "Functional"}:
            found[name] = make
        classes.add(kind)
    return found


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


FRAMEWORK = Framework(_cases, keras_cases.save_folder, _command, own_answers, group=50)
