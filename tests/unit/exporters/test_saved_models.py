"""SavedModels that would act when loaded or run are refused before TensorFlow sees them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import ExportFailed, RequestError, SpecError, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, TensorSpec, Tolerance
from slipway.validation.parity import check_parity

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[tensorflow]'",
    exc_type=ImportError,
)

from slipway.exporters.saved_models import check_saved_model
from slipway.exporters.tensorflow_runtime import tf
from tests.models import tensorflow as saved_models

TOLERANCE = Tolerance()
PASSWORDS = "/etc/passwd"
MARK = "/tmp/slipway-savedmodel-was-run"


def request(path: Path, **source: Any) -> ExportRequest:
    given = SourceSpec(framework="tensorflow", uri=str(path), **source)
    return ExportRequest(source=given, path=path)


def run(path: Path, folder: Path, **changes: Any) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(request(path).model_copy(update=changes), scratch)


def as_numbers(value: Any) -> Any:
    return tf.cast(value, tf.float32)


def reads(x: Any) -> Any:
    return x + as_numbers(tf.strings.length(tf.io.read_file(PASSWORDS)))


def writes(x: Any) -> Any:
    with tf.control_dependencies([tf.io.write_file(MARK, "here")]):
        return tf.identity(x)


def lists_files(x: Any) -> Any:
    return x + as_numbers(tf.size(tf.io.matching_files("/etc/*")))


def prints_to_a_file(x: Any) -> Any:
    with tf.control_dependencies([tf.print("here", output_stream=f"file://{MARK}")]):
        return tf.identity(x)


def calls_python(x: Any) -> Any:
    return tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), [None, 4])


def calls_numpy(x: Any) -> Any:
    return tf.ensure_shape(tf.numpy_function(lambda y: y, [x], tf.float32), [None, 4])


def reads_in_a_branch(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: reads(x), lambda: x)


def reads_in_a_loop(x: Any) -> Any:
    return tf.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, reads(y)), (0, x))[1]


def reads_in_a_function_of_a_function(x: Any) -> Any:
    inner = tf.function(reads, autograph=False)
    return tf.function(inner, autograph=False)(x)


def saves_a_checkpoint(x: Any) -> Any:
    save = tf.raw_ops.SaveV2(prefix=MARK, tensor_names=["x"], shape_and_slices=[""], tensors=[x])
    with tf.control_dependencies([save]):
        return tf.identity(x)


def reads_a_data_set(x: Any) -> Any:
    lines = tf.data.TextLineDataset(PASSWORDS)
    return x + lines.reduce(0.0, lambda count, _: count + 1.0)


@pytest.mark.parametrize(
    ("body", "operator"),
    [
        (reads, "ReadFile"),
        (writes, "WriteFile"),
        (lists_files, "MatchingFiles"),
        (prints_to_a_file, "PrintV2"),
        (calls_python, "EagerPyFunc"),
        (calls_numpy, "PyFunc"),
        (reads_in_a_branch, "ReadFile"),
        (reads_in_a_loop, "ReadFile"),
        (reads_in_a_function_of_a_function, "ReadFile"),
        (saves_a_checkpoint, "SaveV2"),
        (reads_a_data_set, "TextLineDataset"),
    ],
)
def test_an_operator_that_reaches_outside_is_refused_by_name(
    body: Callable[[Any], Any], operator: str, tmp_path: Path
) -> None:
    path = saved_models.save_function(body, tmp_path / "hostile")
    with pytest.raises(UntrustedSource, match=rf"hostile holds .*\b{operator}\b.*sha256: [0-9a-f]"):
        run(path, tmp_path)
    assert not Path(MARK).exists()


def add_main_op(meta: Any) -> None:
    """What runs as soon as the model is loaded."""
    for name, text in (("evil/path", MARK), ("evil/text", "here")):
        node = meta.graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = tf.string.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(text))
    meta.graph_def.node.add(name="evil/write", op="WriteFile", input=["evil/path", "evil/text"])
    meta.collection_def["saved_model_main_op"].node_list.value.append("evil/write")


def write_while_restoring(meta: Any) -> None:
    """Loading a SavedModel of TensorFlow 1 runs what its variables are restored by."""
    restore = next(n for n in meta.graph_def.node if n.name == meta.saver_def.restore_op_name)
    meta.graph_def.node.add(name="evil/save", op="SaveV2")
    restore.input.append("^evil/save")


def use_the_savers_function(meta: Any) -> None:
    """The saver's own function, called by a signature."""
    saver = meta.saver_def.save_tensor_name.partition(":")[0]
    signature = meta.signature_def["serving_default"]
    next(iter(signature.outputs.values())).name = f"{saver}:0"


def name_an_unknown_operator(meta: Any) -> None:
    meta.graph_def.library.function[0].node_def[0].op = "OperatorOfAnUnknownLibrary"


@pytest.mark.parametrize(
    ("change", "operator"),
    [
        (add_main_op, "WriteFile"),
        (write_while_restoring, "SaveV2"),
        (use_the_savers_function, "SaveV2"),
        (name_an_unknown_operator, "OperatorOfAnUnknownLibrary"),
    ],
)
def test_what_loading_would_run_is_looked_at(
    change: Callable[[Any], None], operator: str, tmp_path: Path
) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "hostile")
    check_saved_model(path, trusted=False)
    saved_models.edit(path, change)
    with pytest.raises(UntrustedSource, match=rf"\b{operator}\b"):
        run(path, tmp_path)
    assert not Path(MARK).exists()


def test_a_trusted_model_may_hold_them(tmp_path: Path) -> None:
    path = saved_models.save_function(prints_to_a_file, tmp_path / "odd")
    check_saved_model(path, trusted=True)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/passwd", "..\\outside.txt"])
def test_an_asset_outside_the_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "hostile")
    saved_models.edit(path, lambda meta: meta.asset_file_def.add(filename=name))
    with pytest.raises(UntrustedSource, match="points outside"):
        run(path, tmp_path)


@pytest.mark.parametrize("name", ["saved_model.cpb", "saved_model.pbtxt", "run.py"])
def test_a_file_that_may_be_loaded_in_its_place_is_refused(name: str, tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "hostile")
    (path / name).write_text("", encoding="utf-8")
    with pytest.raises(UntrustedSource, match=name):
        run(path, tmp_path)


def test_a_link_inside_is_refused(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "hostile")
    (path / "assets").mkdir(exist_ok=True)
    (path / "assets" / "words").symlink_to(PASSWORDS)
    with pytest.raises(UntrustedSource, match="symbolic link"):
        run(path, tmp_path)


def test_a_file_is_no_saved_model(tmp_path: Path) -> None:
    path = tmp_path / "model.pb"
    path.write_bytes(b"x")
    with pytest.raises(UnreadableModel, match="a SavedModel is a folder"):
        run(path, tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = saved_models.trained()
    model.bias.assign([1.0, float("nan"), 2.0])
    path = saved_models.save(model, tmp_path / "diverged")
    with pytest.raises(UnreadableModel, match="holds NaN"):
        run(path, tmp_path)


def test_an_operator_that_stays_tensorflows_is_refused_by_name(tmp_path: Path) -> None:
    path = saved_models.save_function(
        lambda x: tf.linalg.inv(tf.matmul(x, x, transpose_a=True) + tf.eye(4)), tmp_path / "inverse"
    )
    with pytest.raises(ExportFailed, match="MatrixInverse"):
        run(path, tmp_path)


def test_inputs_are_renamed_in_the_signatures_order(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "saved")
    inputs = {name: TensorSpec(shape=("rows", 4)) for name in ("first", "second")}
    result = run(path, tmp_path, inputs=inputs)
    assert [tensor.name for tensor in result.inputs] == ["first", "second"]
    assert result.inputs[0].shape == ("rows", 4)
    assert result.outputs[0].shape == ("rows",)
    assert check_parity(result.model, GoldenSet.load(result.golden), tolerance=TOLERANCE).passed


def test_a_spec_that_contradicts_the_signature_is_refused(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "saved")
    wrong = {name: TensorSpec(shape=("batch", 5)) for name in ("a", "x")}
    with pytest.raises(SpecError, match="5 in the spec, 4 in the model"):
        run(path, tmp_path, inputs=wrong)


def test_a_dimension_that_the_model_fixes_is_not_made_dynamic(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "saved")
    wrong = {name: TensorSpec(shape=("batch", "width")) for name in ("a", "x")}
    with pytest.raises(ExportFailed, match="fixes it at 4"):
        run(path, tmp_path, inputs=wrong)


def test_only_images_have_another_layout(tmp_path: Path) -> None:
    path = saved_models.save(saved_models.trained(), tmp_path / "saved")
    source = SourceSpec(framework="tensorflow", uri=str(path), inputs_as_nchw=("a",))
    with pytest.raises(RequestError, match="2 dimensions"):
        run(path, tmp_path, source=source)
