"""Keras sources: what is refused, and the layouts, names and operators that need care."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from slipway.errors import DataError, RequestError, SpecError, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.sessions import Session
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, TensorSpec, Tolerance
from slipway.validation.parity import check_parity

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[keras]'",
    exc_type=ImportError,
)

from slipway.exporters.tensorflow_runtime import tf
from tests.models import keras as keras_models

import keras  # isort: skip - tensorflow_runtime sets which backend it reads


def run(
    path: Path, folder: Path, changes: Mapping[str, Any] | None = None, **source: Any
) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    given = SourceSpec(framework="keras", uri=str(path), **source)
    return export(ExportRequest(source=given, path=path, **(changes or {})), scratch)


def agrees(result: ExportResult) -> bool:
    return check_parity(result.model, GoldenSet.load(result.golden), tolerance=Tolerance()).passed


def dense(*layers: Any) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3), *layers])


def test_a_lambda_layer_is_refused_by_its_name(tmp_path: Path) -> None:
    model = dense(keras.layers.Lambda(lambda x: x * 2, name="doubling"))
    path = keras_models.save(model, tmp_path / "model.keras")
    with pytest.raises(UntrustedSource, match="layer doubling is a Lambda"):
        run(path, tmp_path)


def test_a_lambda_layer_of_a_trusted_file_is_converted(tmp_path: Path) -> None:
    model = dense(keras.layers.Lambda(lambda x: x * 2, output_shape=(3,)))
    path = keras_models.save(model, tmp_path / "model.keras")
    assert agrees(run(path, tmp_path, trusted=True, sha256="0" * 64))


def test_a_lambda_deep_inside_is_found(tmp_path: Path) -> None:
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x, name="deep")])
    path = keras_models.save(dense(inner), tmp_path / "model.keras")
    with pytest.raises(UntrustedSource, match="layer deep is a Lambda"):
        run(path, tmp_path)


def rewrite(path: Path, *, config: Any = None, more: Mapping[str, bytes] | None = None) -> Path:
    """The same archive with another config, or with more members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        members["config.json"] = json.dumps(config(json.loads(members["config.json"]))).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, **(more or {})}.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["../outside.py", "/etc/outside", "assets/../../outside"])
def test_a_member_outside_the_archive_is_refused(name: str, tmp_path: Path) -> None:
    path = keras_models.save(dense(), tmp_path / "model.keras")
    rewrite(path, more={name: b"x"})
    with pytest.raises(UntrustedSource, match="points outside"):
        run(path, tmp_path)


@pytest.mark.parametrize("module", ["os", "subprocess", "slipway.isolation.runner", "keras_evil"])
def test_a_class_of_another_package_is_refused(module: str, tmp_path: Path) -> None:
    path = keras_models.save(dense(), tmp_path / "model.keras")

    def swap(config: Any) -> Any:
        config["config"]["layers"][1] |= {"module": module, "class_name": "system"}
        return config

    rewrite(path, config=swap)
    with pytest.raises(UntrustedSource, match=f"class system of {module}"):
        run(path, tmp_path)


def test_a_class_of_the_users_own_asks_for_a_factory(tmp_path: Path) -> None:
    model = keras_models.subclassed(tmp_path / "factory.py")
    path = keras_models.save(model, tmp_path / "model.keras")
    with pytest.raises(UntrustedSource, match=r"needs the class Pair .*source\.factory"):
        run(path, tmp_path)


def test_a_factory_brings_the_class_of_a_keras_file(tmp_path: Path) -> None:
    factory = tmp_path / "factory.py"
    path = keras_models.save(keras_models.subclassed(factory), tmp_path / "model.keras")
    changes = {
        "factory_path": factory,
        "inputs": {name: TensorSpec(shape=("batch", 5)) for name in ("x", "y")},
    }
    result = run(path, tmp_path, changes, factory="factory.py:build")
    assert [tensor.name for tensor in result.inputs] == ["x", "y"]
    assert agrees(result)


def test_weights_alone_ask_for_a_factory(tmp_path: Path) -> None:
    path = keras_models.save(dense(), tmp_path / "model.weights.h5")
    with pytest.raises(UnreadableModel, match=r"set source\.factory"):
        run(path, tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    factory = tmp_path / "factory.py"
    factory.write_text(keras_models.FACTORY, encoding="utf-8")
    path = keras_models.save(dense(), tmp_path / "model.weights.h5")
    changes = {
        "factory_path": factory,
        "inputs": {name: TensorSpec(shape=("batch", 5)) for name in ("x", "y")},
    }
    with pytest.raises(UnreadableModel, match="does not go into the model"):
        run(path, tmp_path, changes, factory="factory.py:build")


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = dense()
    model.weights[1].assign([0.0, float("nan"), 1.0])
    path = keras_models.save(model, tmp_path / "model.keras")
    with pytest.raises(UnreadableModel, match="bias holds NaN"):
        run(path, tmp_path)


def test_images_stay_nhwc_by_default(tmp_path: Path) -> None:
    path = keras_models.save(keras_models.sequential(), tmp_path / "model.keras")
    assert run(path, tmp_path).inputs[0].shape == ("batch", 8, 6, 3)


def test_images_become_nchw_when_asked(tmp_path: Path) -> None:
    model = keras_models.sequential()
    path = keras_models.save(model, tmp_path / "model.keras")
    result = run(path, tmp_path, inputs_as_nchw=("image",))
    assert result.inputs[0].shape == ("batch", 3, 8, 6)
    assert agrees(result)
    images = np.random.default_rng(1).random((5, 8, 6, 3), dtype=np.float32)
    (answer,) = Session(result.model).run({"image": images.transpose(0, 3, 1, 2)}).values()
    np.testing.assert_allclose(answer, model(images, training=False), rtol=1e-4, atol=1e-5)


def test_the_spec_tells_an_nchw_shape_as_the_exported_model_has_it(tmp_path: Path) -> None:
    path = keras_models.save(keras_models.sequential(), tmp_path / "model.keras")
    asked = {"image": TensorSpec(shape=("batch", 3, 8, 6))}
    result = run(path, tmp_path, {"inputs": asked}, inputs_as_nchw=("image",))
    assert result.inputs[0].shape == ("batch", 3, 8, 6)


def test_an_unknown_image_is_refused(tmp_path: Path) -> None:
    path = keras_models.save(keras_models.sequential(), tmp_path / "model.keras")
    with pytest.raises(SpecError, match="no input is called 'picture'; there are image"):
        run(path, tmp_path, inputs_as_nchw=("picture",))


def test_other_frameworks_have_no_layout_to_choose() -> None:
    with pytest.raises(ValueError, match="inputs_as_nchw is for keras and tensorflow"):
        SourceSpec(framework="pytorch", uri="model.pt2", inputs_as_nchw=("image",))


@pytest.mark.parametrize("activation", ["gelu", "celu", "selu", "mish", "elu", "log_softmax"])
@pytest.mark.parametrize("opset", [14, 18])
def test_activations_that_tf2onnx_leaves_in_the_graph_are_right(
    activation: str, opset: int, tmp_path: Path
) -> None:
    model = dense(keras.layers.Activation(activation))
    path = keras_models.save(model, tmp_path / "model.keras")
    result = run(path, tmp_path, {"opset": opset})
    assert result.opset == opset
    assert agrees(result)


def test_an_adapted_normalization_is_a_constant_and_no_input(tmp_path: Path) -> None:
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).random((32, 4), np.float32))
    model = keras.Sequential([keras.Input((4,), name="x"), normalization, keras.layers.Dense(2)])
    result = run(keras_models.save(model, tmp_path / "model.keras"), tmp_path)
    assert [tensor.name for tensor in result.inputs] == ["x"]
    assert agrees(result)


@pytest.mark.parametrize("layer", ["Conv1D", "Conv2D"])
def test_grouped_convolutions_are_convolutions(layer: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    shape = (8, 4) if layer == "Conv1D" else (8, 6, 4)
    grouped = getattr(keras.layers, layer)(6, 3, groups=2)
    model = keras.Sequential([keras.Input(shape, name="x"), grouped])
    result = run(keras_models.save(model, tmp_path / "model.keras"), tmp_path)
    assert "Conv" in {node.op_type for node in onnx.load(result.model).graph.node}
    assert agrees(result)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_buckets_are_counted_with_their_edges(dtype: str, tmp_path: Path) -> None:
    buckets = keras.layers.Discretization([-1.0, 0.0, 2.0])
    model = keras.Sequential([keras.Input((3,), dtype=dtype, name="x"), buckets])
    path = keras_models.save(model, tmp_path / "model.keras")
    golden = tmp_path / "golden.npz"
    np.savez(golden, x=np.array([[-2, -1, 0], [1, 2, 3], [-1, 0, 2]], dtype))
    result = run(path, tmp_path, {"golden_inputs": golden})
    assert agrees(result)
    case = GoldenSet.load(result.golden).cases[-1]
    np.testing.assert_array_equal(case.outputs["output"], [[0, 1, 2], [2, 3, 3], [1, 2, 3]])


def test_dropout_and_noise_are_off(tmp_path: Path) -> None:
    model = dense(keras.layers.Dropout(0.5), keras.layers.GaussianNoise(1.0))
    assert agrees(run(keras_models.save(model, tmp_path / "model.keras"), tmp_path))


@pytest.mark.parametrize("layer", ["LSTM", "GRU", "SimpleRNN"])
def test_recurrent_layers_take_sequences_of_any_length(layer: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    recurrent = getattr(keras.layers, layer)(5)
    model = keras.Sequential([keras.Input((None, 3), name="series"), recurrent])
    result = run(keras_models.save(model, tmp_path / "model.keras"), tmp_path)
    assert result.inputs[0].shape == ("batch", "series_1", 3)
    assert agrees(result)


def test_golden_rows_that_the_model_refuses_are_the_datas_fault(tmp_path: Path) -> None:
    embedding = keras.layers.Embedding(4, 2)
    model = keras.Sequential([keras.Input((3,), dtype="int64", name="ids"), embedding])
    path = keras_models.save(model, tmp_path / "model.keras")
    golden = tmp_path / "golden.npz"
    np.savez(golden, ids=np.full((4, 3), 9))
    with pytest.raises(DataError, match="does not run on golden inputs"):
        run(path, tmp_path, {"golden_inputs": golden})


def test_the_wrong_number_of_inputs_is_refused(tmp_path: Path) -> None:
    path = keras_models.save(dense(), tmp_path / "model.keras")
    wrong = {name: TensorSpec(shape=("batch", 4)) for name in ("x", "y")}
    with pytest.raises(RequestError, match=r"names 2 inputs \(x, y\), the model takes 1 \(x\)"):
        run(path, tmp_path, {"inputs": wrong})


def test_another_element_type_is_refused(tmp_path: Path) -> None:
    path = keras_models.save(dense(), tmp_path / "model.keras")
    wrong = {"x": TensorSpec(dtype="uint8", shape=("batch", 4))}
    with pytest.raises(SpecError, match="uint8 in the spec, float32 in the model"):
        run(path, tmp_path, {"inputs": wrong})


def test_a_fixed_batch_stays_fixed(tmp_path: Path) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(batch_shape=(2, 4), name="x"), keras.layers.Dense(3)])
    result = run(keras_models.save(model, tmp_path / "model.keras"), tmp_path)
    assert result.inputs[0].shape == (2, 4)
    assert result.golden_batch_sizes == (2,)
    assert agrees(result)


def test_tensorflow_says_nothing_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(keras_models.save(dense(), tmp_path / "model.keras"), tmp_path)
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert tf.executing_eagerly()
