import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.artifacts import FileEntry, describe_tree, digest_bytes, digest_file
from slipway.errors import IntegrityError, RequestError, SourceNotFound
from slipway.packaging.bundle import BundleContent, build_bundle
from slipway.packaging.manifest import Manifest, ManifestVariant, bundle_tree, read_manifest
from slipway.packaging.verify import verify_bundle
from slipway.providers.recommended import X64_PRECISION
from slipway.stores.memory import MemoryStore
from slipway.stores.trees import fetch, put_tree
from tests.sample_bundles import make_content, other_content

names = st.text(alphabet="abcdef", min_size=1, max_size=5)


@pytest.fixture
def content(tmp_path: Path) -> BundleContent:
    return make_content(tmp_path / "content")


def test_a_bundle_has_the_layout_that_deployers_expect(
    content: BundleContent, tmp_path: Path
) -> None:
    manifest = build_bundle(tmp_path / "bundle", content=content)
    environment = ["MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"]
    assert [file.path for file in manifest.files] == sorted(
        [
            *environment,
            "input_example.json",
            "serving_input_example.json",
            "assets/labels.json",
            "evidence/evidence.json",
            "evidence/report.html",
            "golden/golden.npz",
            "provenance.json",
            "sbom.cdx.json",
            "variants/fp32/model.onnx",
            "variants/int8-static/model.onnx",
            "variants/int8-static/weights.data",
            *(f"variants/{p}/{file}" for p in ("fp32", "int8-static") for file in environment),
        ]
    )
    assert verify_bundle(tmp_path / "bundle").passed


def test_the_identity_is_the_digest_of_the_manifest_file(
    content: BundleContent, tmp_path: Path
) -> None:
    manifest = build_bundle(tmp_path / "bundle", content=content)
    assert manifest.digest == digest_file(tmp_path / "bundle" / "manifest.json")
    assert read_manifest(tmp_path / "bundle") == manifest


def test_the_same_content_gives_the_same_digest_from_other_folders(tmp_path: Path) -> None:
    one = build_bundle(tmp_path / "a", content=make_content(tmp_path / "one"))
    two = build_bundle(tmp_path / "deep" / "b", content=make_content(tmp_path / "two"))
    assert one.digest == two.digest
    assert describe_tree(tmp_path / "a") == describe_tree(tmp_path / "deep" / "b")


def test_the_order_of_the_content_does_not_matter(content: BundleContent, tmp_path: Path) -> None:
    turned = replace(
        content,
        variants=dict(reversed(content.variants.items())),
        evidence=dict(reversed(content.evidence.items())),
    )
    one = build_bundle(tmp_path / "a", content=content)
    assert build_bundle(tmp_path / "b", content=turned).digest == one.digest


def test_other_content_gives_another_digest(content: BundleContent, tmp_path: Path) -> None:
    one = build_bundle(tmp_path / "a", content=content)
    two = build_bundle(tmp_path / "b", content=other_content(tmp_path / "other"))
    assert one.digest != two.digest


def test_variants_are_copied_byte_for_byte(content: BundleContent, tmp_path: Path) -> None:
    manifest = build_bundle(tmp_path / "bundle", content=content)
    for variant in manifest.variants:
        source = content.variants[variant.precision]
        model = source / "model.onnx" if source.is_dir() else source
        assert (tmp_path / "bundle" / variant.model).read_bytes() == model.read_bytes()
    external = sum(p.stat().st_size for p in content.variants["int8-static"].iterdir())
    assert manifest.variants[1].size_bytes == external


def test_nothing_in_a_bundle_is_a_link(content: BundleContent, tmp_path: Path) -> None:
    build_bundle(tmp_path / "bundle", content=content)
    files = [path for path in (tmp_path / "bundle").rglob("*") if not path.is_dir()]
    assert all(path.stat().st_nlink == 1 and not path.is_symlink() for path in files)


def test_a_bundle_that_is_there_is_reused(content: BundleContent, tmp_path: Path) -> None:
    build_bundle(tmp_path / "bundle", content=content)
    before = (tmp_path / "bundle" / "manifest.json").stat()
    build_bundle(tmp_path / "bundle", content=content)
    assert (tmp_path / "bundle" / "manifest.json").stat().st_ino == before.st_ino
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "content"]


def test_a_damaged_bundle_is_built_again(content: BundleContent, tmp_path: Path) -> None:
    build_bundle(tmp_path / "bundle", content=content)
    (tmp_path / "bundle" / "variants" / "fp32" / "model.onnx").write_bytes(b"rotten")
    build_bundle(tmp_path / "bundle", content=content)
    assert verify_bundle(tmp_path / "bundle").passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "content"]


@pytest.mark.parametrize("kind", ["bundle", "folder", "file", "link"])
def test_something_else_at_the_target_is_left_alone(
    content: BundleContent, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "bundle"
    if kind == "bundle":
        build_bundle(target, content=other_content(tmp_path / "other"))
    elif kind == "folder":
        target.mkdir()
        (target / "thesis.txt").write_text("precious")
    elif kind == "file":
        target.write_text("precious")
    else:
        target.symlink_to(tmp_path / "content")
    before = describe_tree(target) if target.is_dir() else target.read_text()
    with pytest.raises(RequestError, match="exists already"):
        build_bundle(target, content=content)
    assert before == (describe_tree(target) if target.is_dir() else target.read_text())


def test_an_empty_folder_at_the_target_is_filled(content: BundleContent, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    build_bundle(tmp_path / "bundle", content=content)
    assert verify_bundle(tmp_path / "bundle").passed


def test_an_absent_file_is_named_and_nothing_is_left(
    content: BundleContent, tmp_path: Path
) -> None:
    lost = replace(content, assets={"vocab.txt": tmp_path / "nowhere.txt"})
    with pytest.raises(SourceNotFound, match=r"nowhere\.txt"):
        build_bundle(tmp_path / "out" / "bundle", content=lost)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_linked_weight_file_is_refused(content: BundleContent, tmp_path: Path) -> None:
    weights = content.variants["int8-static"] / "weights.data"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match=r"weights\.data is a symbolic link"):
        build_bundle(tmp_path / "bundle", content=content)


def test_a_folder_without_a_model_is_refused(content: BundleContent, tmp_path: Path) -> None:
    (content.variants["int8-static"] / "model.onnx").rename(tmp_path / "other.onnx")
    with pytest.raises(RequestError, match=r"int8-static .* no model\.onnx"):
        build_bundle(tmp_path / "bundle", content=content)


def test_a_variant_with_one_of_mlflows_names_is_refused(
    content: BundleContent, tmp_path: Path
) -> None:
    (content.variants["int8-static"] / "MLmodel").write_text("flavors: {}")
    with pytest.raises(RequestError, match="MLmodel"):
        build_bundle(tmp_path / "bundle", content=content)


def test_a_bundle_without_variants_is_refused(content: BundleContent, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="needs a variant"):
        build_bundle(tmp_path / "bundle", content=replace(content, variants={}))


def test_selecting_an_absent_variant_is_refused(content: BundleContent, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="fp16 is selected for cpu"):
        build_bundle(tmp_path / "bundle", content=replace(content, selected={"cpu": "fp16"}))


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", ""])
def test_a_name_that_leads_outside_is_refused(
    content: BundleContent, tmp_path: Path, name: str
) -> None:
    with pytest.raises(RequestError, match="not a plain relative path"):
        build_bundle(tmp_path / "bundle", content=replace(content, evidence={name: b""}))
    with pytest.raises(RequestError, match="not a plain relative path"):
        build_bundle(tmp_path / "bundle", content=replace(content, assets={name: content.golden}))


def test_names_that_clash_are_refused(content: BundleContent, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="clash"):
        build_bundle(tmp_path / "b", content=replace(content, evidence={"a": b"", "a/b": b""}))


def test_a_folder_of_assets_is_carried_whole(content: BundleContent, tmp_path: Path) -> None:
    (tmp_path / "tokenizer" / "deep").mkdir(parents=True)
    (tmp_path / "tokenizer" / "deep" / "vocab.txt").write_text("a b")
    assets = {"tokenizer": tmp_path / "tokenizer"}
    build_bundle(tmp_path / "bundle", content=replace(content, assets=assets))
    assert (tmp_path / "bundle/assets/tokenizer/deep/vocab.txt").read_text() == "a b"


LIMITED = """
import resource, signal, sys
from pathlib import Path
from slipway.packaging.bundle import build_bundle
from tests.sample_bundles import make_content
content = make_content(Path(sys.argv[1]) / "content")
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL if sys.argv[3] == "die" else signal.SIG_IGN)
build_bundle(Path(sys.argv[1]) / "out" / "bundle", content=content)
"""


def build_with_file_limit(
    folder: Path, *, limit: int, end: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder), str(limit), end],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )


def test_a_builder_that_runs_out_of_room_leaves_no_bundle(tmp_path: Path) -> None:
    ended = build_with_file_limit(tmp_path, limit=1000, end="fail")
    assert "EnvironmentMissing: writing the bundle" in ended.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("limit", [0, 1000, 2500])  # the manifest, last, has more than 2,500
def test_a_builder_killed_at_byte_n_leaves_no_bundle(tmp_path: Path, limit: int) -> None:
    ended = build_with_file_limit(tmp_path, limit=limit, end="die")
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    target = tmp_path / "out" / "bundle"
    assert not target.exists()
    build_bundle(target, content=make_content(tmp_path / "again"))
    assert verify_bundle(target).passed


def test_a_stored_bundle_comes_back_sound_without_what_mlflow_left(
    content: BundleContent, tmp_path: Path
) -> None:
    manifest = build_bundle(tmp_path / "bundle", content=content)
    (tmp_path / "bundle" / "registered_model_meta").write_text("model_name: table\n")
    store = MemoryStore()
    ref = put_tree(store, tmp_path / "bundle", tree=bundle_tree(tmp_path / "bundle"))
    back = fetch(store, ref, tmp_path / "back")
    assert verify_bundle(back, digest=manifest.digest).findings == ()
    assert not (back / "registered_model_meta").exists()


@given(
    name=names,
    files=st.dictionaries(names, st.integers(0, 1 << 40), max_size=5),
    selected=st.dictionaries(names, st.sampled_from(["fp32", "fp16"]), max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_a_manifest_survives_its_json(
    name: str, files: dict[str, int], selected: dict[str, str]
) -> None:
    entries = [
        FileEntry(path=path, digest=digest_bytes(path.encode()), size_bytes=size)
        for path, size in sorted(files.items())
    ]
    manifest = Manifest.model_validate(
        {
            "name": name,
            "files": entries,
            "variants": [
                ManifestVariant(precision="fp32", model=file.path, size_bytes=1)
                for file in entries[:1]
            ],
            "selected": selected,
        }
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_manifest_that_serves_an_unlisted_file_is_refused() -> None:
    manifest = Manifest(
        name="a",
        files=(),
        variants=(ManifestVariant(precision="fp32", model="model.onnx", size_bytes=1),),
        selected={},
    )
    with pytest.raises(IntegrityError, match="does not list it"):
        Manifest.from_json(manifest.to_json())


def test_a_variant_with_half_precision_inputs_says_so_to_mlflow(
    content: BundleContent, tmp_path: Path
) -> None:
    build_bundle(tmp_path / "bundle", content=replace(content, half_io=frozenset({"int8-static"})))

    def served(path: str) -> str:
        return (tmp_path / "bundle" / path / "MLmodel").read_text()

    assert "float16" in served("variants/int8-static")
    assert "float16" in served("")  # the root serves the selected variant
    assert "float16" not in served("variants/fp32")
    assert "float32" in served("variants/fp32")


def test_recommended_settings_are_in_the_bundle_and_in_mlflow_s_own_words(
    content: BundleContent, tmp_path: Path
) -> None:
    swept = replace(
        content,
        serving={"cpu": b'{"intra_op_num_threads":1}'},
        session_options={"intra_op_num_threads": 1, "graph_optimization_level": 99},
    )
    build_bundle(tmp_path / "bundle", content=swept)
    assert (tmp_path / "bundle/serving/cpu.json").read_bytes() == swept.serving["cpu"]
    served = yaml.safe_load((tmp_path / "bundle/MLmodel").read_text())
    assert served["flavors"]["onnx"]["onnx_session_options"] == {
        "intra_op_num_threads": 1,
        "graph_optimization_level": 99,
    }
    assert verify_bundle(tmp_path / "bundle").passed


@pytest.mark.parametrize("lacking", [True, False])
def test_what_a_variant_asks_of_its_sessions_is_in_the_manifest_and_where_needed_its_mlmodels(
    lacking: bool, content: BundleContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.packaging.bundle.lacks_vnni", lambda: lacking)
    asking = content.variants["int8-static"] / "model.onnx"
    with asking.open("ab") as file:  # fields of a protobuf may come in any order
        entry = onnx.StringStringEntryProto(key=X64_PRECISION, value="1")
        file.write(onnx.ModelProto(metadata_props=[entry]).SerializeToString())
    swept = replace(content, session_options={"intra_op_num_threads": 1})
    manifest = build_bundle(tmp_path / "bundle", content=swept)
    assert [v.session_config for v in manifest.variants] == [{}, {X64_PRECISION: "1"}]

    def options(folder: str) -> object:
        served = yaml.safe_load((tmp_path / "bundle" / folder / "MLmodel").read_text())
        return served["flavors"]["onnx"]["onnx_session_options"]

    asked = {"extra_session_config": {X64_PRECISION: "1"}} if lacking else {}
    chosen = {"intra_op_num_threads": 1, **asked}
    assert options("") == options("variants/int8-static") == chosen
    assert options("variants/fp32") is None


def test_a_manifest_without_recommendations_has_no_place_for_them(
    content: BundleContent, tmp_path: Path
) -> None:
    """Bundles that were sealed before there were any keep their digests."""
    build_bundle(tmp_path / "bundle", content=content)
    sealed = (tmp_path / "bundle" / "manifest.json").read_text()
    assert "session_config" not in sealed
    assert "serving" not in sealed.replace("serving_input_example", "")
