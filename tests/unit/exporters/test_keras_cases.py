"""The layers of Keras: none is forgotten, and those that need care come out right or by name."""

from pathlib import Path

import pytest

from slipway.errors import SlipwayError
from slipway.exporters import export
from slipway.protocols import ExportResult
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import check_parity

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[keras]'",
    exc_type=ImportError,
)

from tests.keras_cases import CASES, EXCLUDED, save, save_folder

import keras  # isort: skip - tensorflow_runtime sets which backend it reads


def exported(name: str, folder: Path) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(save(CASES[name](), folder), scratch)


def test_every_layer_class_is_a_case_or_says_why_not() -> None:
    classes = {value.__name__ for value in vars(keras.layers).values() if isinstance(value, type)}
    tried = {word for name in CASES for word in name.split()}
    assert sorted(classes - tried - EXCLUDED.keys()) == []
    assert sorted(EXCLUDED.keys() & tried) == []


@pytest.mark.parametrize(
    "name",
    [
        "Resizing area",
        "Resizing bicubic",
        "Resizing lanczos3",
        "UpSampling2D lanczos5",
        "Conv3D groups=2",
        "IntegerLookup",
        "IntegerLookup inverted",
        "Functional of operations",
        "LSTM masked",
        "GroupedQueryAttention causal",
    ],
)
def test_the_graph_repeats_the_layer(name: str, tmp_path: Path) -> None:
    made = exported(name, tmp_path)
    report = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Hashing", "no ONNX for TensorFlow's StringToHashBucketFast"),
        ("AdaptiveMaxPooling2D to 1", "TensorFlow cannot trace it as a graph.*replace the layer"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(SlipwayError, match=reason):
        exported(name, tmp_path)


def test_a_saved_model_of_area_resizing_is_right_too(tmp_path: Path) -> None:
    request = save_folder(CASES["Resizing area"](), tmp_path)
    (tmp_path / "scratch").mkdir()
    made = export(request, tmp_path / "scratch")
    golden = GoldenSet.load(made.golden)
    assert check_parity(made.model, golden, tolerance=Tolerance()).passed
