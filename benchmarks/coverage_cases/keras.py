"""Keras: every layer class, and models of each kind, as `.keras` files, beside `from_keras`."""

from pathlib import Path

from benchmarks.coverage_judge import Framework, Reference
from slipway.exporters.tensorflow_runtime import tf, tf2onnx
from slipway.protocols import ExportRequest
from tests import keras_cases
from tests.keras_cases import Case

import keras  # isort: skip - tensorflow_runtime sets which backend it reads


def from_keras(case: Case, _: ExportRequest, folder: Path) -> Path:
    """`tf2onnx.convert.from_keras` as its documentation calls it."""
    path = folder / "plain.onnx"
    tf2onnx.convert.from_keras(
        case.build(), inputs_as_nchw=list(case.as_nchw) or None, output_path=str(path)
    )
    return path


def own_answers(case: Case, _: ExportRequest) -> Reference:
    """The model's own, called as it is; images in the layout that the graph shall take."""
    model = case.build()
    rows = case.filled(model)
    runs = []
    for size in (1, 3, 32):
        given = {name: array[:size] for name, array in rows.items()}
        answers = keras.tree.flatten(model(case.as_arguments(model, given), training=False))
        turned = {
            name: keras_cases.to_nchw(array) if name in case.as_nchw else array
            for name, array in given.items()
        }
        runs.append((turned, [leaf.numpy() for leaf in answers if tf.is_tensor(leaf)]))
    return Reference(runs)


FRAMEWORK = Framework(
    lambda: keras_cases.CASES, keras_cases.save, from_keras, own_answers, group=50
)
