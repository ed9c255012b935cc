"""A SavedModel is a folder: it goes through the store as a tree, and is refused as one."""

from pathlib import Path

import pytest

from slipway.artifacts import describe_tree, digest_bytes
from slipway.errors import ChildOutOfMemory, IntegrityError, UntrustedSource
from slipway.exporters import memory_advice
from slipway.specs import ReleaseSpec, SourceSpec
from slipway.stages.making import export_model, fetch_materials

pytest.importorskip(
    "slipway.exporters.tensorflow_runtime",
    reason="TensorFlow is not installed: pip install 'slipway[tensorflow]'",
    exc_type=ImportError,
)

from slipway.exporters.tensorflow_runtime import tf
from tests.models import tensorflow as saved_models


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))


def spec_of(path: Path, **source: object) -> ReleaseSpec:
    given = {"framework": "tensorflow", "uri": str(path), **source}
    return ReleaseSpec(name="saved", source=SourceSpec.model_validate(given))


def test_a_folder_is_fetched_as_a_tree_and_exported(tmp_path: Path) -> None:
    spec = spec_of(saved_models.save(saved_models.trained(), tmp_path / "saved"))
    source = fetch_materials(spec).source
    assert source.is_tree
    report = export_model(spec, source)
    assert [tensor.name for tensor in report.outputs] == ["best", "scores"]
    assert report.route == "tf2onnx from the SavedModel"


def test_trust_is_in_the_folders_digest_which_the_refusal_prints(tmp_path: Path) -> None:
    path = saved_models.save_function(
        lambda x: x * tf.cast(tf.strings.length(tf.io.read_file("x")), tf.float32),
        tmp_path / "reads",
    )
    digest = digest_bytes(describe_tree(path).to_json()).removeprefix("sha256:")
    with pytest.raises(UntrustedSource, match=f"sha256: {digest}"):
        export_model(spec_of(path), fetch_materials(spec_of(path)).source)
    trusted = fetch_materials(spec_of(path, trusted=True, sha256=digest))
    assert trusted.source.digest == f"sha256:{digest}"
    with pytest.raises(IntegrityError, match="another file"):
        fetch_materials(spec_of(path, trusted=True, sha256="0" * 64))


def test_an_export_without_memory_says_how_much_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(saved_models.save(saved_models.trained(), tmp_path / "saved"))
    source = fetch_materials(spec).source
    monkeypatch.setenv("SLIPWAY_MEMORY_LIMIT_BYTES", str(200 << 20))
    with pytest.raises(ChildOutOfMemory, match="tensorflow model takes 50 to 90 times its size"):
        export_model(spec, source)


def test_the_advice_counts_with_the_models_size() -> None:
    assert "about 5.0 to 9.0 GiB for this one" in memory_advice("keras", (1 << 30) // 10)
    assert memory_advice("sklearn", 1 << 30) == ""
