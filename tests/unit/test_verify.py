import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from slipway.artifacts import canonical_json, digest_bytes
from slipway.errors import CheckFailed, EnvironmentMissing, IntegrityError, SourceNotFound
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import read_manifest
from slipway.packaging.selftest import selftest_bundle
from slipway.packaging.verify import verify_bundle
from slipway.providers.sessions import Session
from slipway.samples.golden import GoldenSet
from slipway.specs import Precision
from tests.sample_bundles import make_content

KINDS = {
    "model": "variants/fp32/model.onnx",
    "external data": "variants/int8-static/weights.data",
    "golden set": "golden/golden.npz",
    "asset": "assets/labels.json",
    "evidence": "evidence/report.html",
    "provenance": "provenance.json",
    "MLmodel": "MLmodel",
    "variant's MLmodel": "variants/fp32/MLmodel",
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    build_bundle(folder / "bundle", content=make_content(folder / "content"))
    return folder / "bundle"


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / "bundle"))


def codes(bundle: Path) -> dict[str | None, str]:
    report = verify_bundle(bundle)
    assert report.passed is not any(finding.level == "error" for finding in report.findings)
    assert all(str(finding.place) in finding.message for finding in report.findings)
    return {finding.place: finding.code for finding in report.findings}


def flip(path: Path, position: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_an_untouched_bundle_passes(bundle: Path) -> None:
    report = verify_bundle(bundle)
    assert report.passed
    assert report.findings == ()
    assert report.digest == read_manifest(bundle).digest
    assert report.files == len(read_manifest(bundle).files)


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_one_flipped_byte_is_found_by_name(bundle: Path, path: str) -> None:
    flip(bundle / path)
    assert codes(bundle) == {path: "changed"}


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_truncated_file_is_found_by_name(bundle: Path, path: str) -> None:
    (bundle / path).write_bytes((bundle / path).read_bytes()[:-1])
    assert codes(bundle) == {path: "changed"}


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_missing_file_is_found_by_name(bundle: Path, path: str) -> None:
    (bundle / path).unlink()
    assert codes(bundle) == {path: "missing"}


@pytest.mark.parametrize("path", KINDS.values(), ids=KINDS)
def test_a_symbolic_link_with_the_right_bytes_is_found_by_name(bundle: Path, path: str) -> None:
    (bundle / path).rename(bundle.parent / "elsewhere")
    (bundle / path).symlink_to(bundle.parent / "elsewhere")
    assert codes(bundle) == {path: "link"}


def test_a_renamed_file_is_missing_and_extra(bundle: Path) -> None:
    (bundle / "provenance.json").rename(bundle / "origin.json")
    assert codes(bundle) == {"provenance.json": "missing", "origin.json": "extra"}


@pytest.mark.parametrize("path", ["extra.bin", "variants/fp32/.hidden", "assets/deep/er/x"])
def test_an_extra_file_is_found_by_name(bundle: Path, path: str) -> None:
    (bundle / path).parent.mkdir(parents=True, exist_ok=True)
    (bundle / path).write_bytes(b"")
    assert codes(bundle) == {path: "extra"}


def test_an_extra_link_to_a_folder_is_found_and_not_followed(bundle: Path) -> None:
    (bundle / "loop").symlink_to(bundle)
    assert codes(bundle) == {"loop": "link"}


def test_a_pipe_is_found_and_not_opened(bundle: Path) -> None:
    (bundle / "provenance.json").unlink()
    os.mkfifo(bundle / "provenance.json")
    os.mkfifo(bundle / "pipe")
    assert codes(bundle) == {"provenance.json": "special", "pipe": "special"}


def test_a_folder_in_a_files_place_is_a_missing_file(bundle: Path) -> None:
    (bundle / "provenance.json").unlink()
    (bundle / "provenance.json").mkdir()
    assert codes(bundle) == {"provenance.json": "missing"}


def test_a_second_name_for_the_bytes_is_a_warning(bundle: Path) -> None:
    os.link(bundle / "variants/int8-static/weights.data", bundle.parent / "second")
    report = verify_bundle(bundle)
    assert report.passed
    assert [finding.code for finding in report.findings] == ["hardlink"]


def test_everything_wrong_is_told_at_once(bundle: Path) -> None:
    flip(bundle / "MLmodel")
    (bundle / "golden" / "golden.npz").unlink()
    (bundle / "stray").write_bytes(b"")
    assert codes(bundle) == {"MLmodel": "changed", "golden/golden.npz": "missing", "stray": "extra"}


def test_what_mlflow_writes_when_it_loads_is_not_extra(bundle: Path) -> None:
    (bundle / "registered_model_meta").write_text("model_name: a\n")
    (bundle / "variants/fp32/registered_model_meta").write_text("model_name: a\n")
    assert verify_bundle(bundle).findings == ()


def test_mlflows_name_anywhere_else_is_extra(bundle: Path) -> None:
    (bundle / "assets/registered_model_meta").write_text("")
    assert codes(bundle) == {"assets/registered_model_meta": "extra"}


def test_mlflows_name_as_a_link_is_found(bundle: Path) -> None:
    (bundle / "registered_model_meta").symlink_to("/etc/passwd")
    assert codes(bundle) == {"registered_model_meta": "link"}


def test_any_flipped_byte_of_the_manifest_is_found(bundle: Path) -> None:
    path = bundle / "manifest.json"
    data = path.read_bytes()
    for position in range(0, len(data), 97):
        flip(path, position)
        assert codes(bundle) == {"manifest.json": "manifest"}
        path.write_bytes(data)
    assert verify_bundle(bundle).passed


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000, b"null"])
def test_an_unreadable_manifest_is_a_finding(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    report = verify_bundle(bundle)
    assert not report.passed
    assert report.digest is None
    assert [finding.code for finding in report.findings] == ["manifest"]


def test_an_absent_manifest_is_a_finding(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()
    assert codes(bundle) == {"manifest.json": "manifest"}


def test_a_manifest_that_is_a_link_is_found(bundle: Path) -> None:
    (bundle / "manifest.json").rename(bundle.parent / "elsewhere")
    (bundle / "manifest.json").symlink_to(bundle.parent / "elsewhere")
    assert codes(bundle) == {"manifest.json": "link"}


def test_a_manifest_with_a_path_outside_is_refused(bundle: Path) -> None:
    manifest = read_manifest(bundle).model_dump(mode="json")
    manifest["files"][0]["path"] = "../outside"
    sealed = {**manifest, "checksum": digest_bytes(canonical_json(manifest))}
    (bundle / "manifest.json").write_bytes(canonical_json(sealed))
    assert codes(bundle) == {"manifest.json": "manifest"}


def test_another_sound_bundle_than_expected_is_found(bundle: Path) -> None:
    report = verify_bundle(bundle, digest=digest_bytes(b"another"))
    assert [finding.code for finding in report.findings] == ["digest"]
    assert not report.passed
    assert verify_bundle(bundle, digest=read_manifest(bundle).digest).passed


def test_a_folder_that_may_not_be_listed_is_told_as_such(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:  # the tests may run as root, who may list everything
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(EnvironmentMissing, match="permission is denied"):
        verify_bundle(bundle)


def test_no_bundle_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound):
        verify_bundle(tmp_path / "nowhere")


def replay(
    precision: Precision, model: Path, golden: Path
) -> tuple[bool, float | None, str | None]:
    del precision
    session, worst = Session(model), 0.0
    for case in GoldenSet.load(golden).cases:
        feeds = {**case.inputs, "city": case.inputs["city"].astype(object)}
        error = abs(session.run(feeds)["score"] - case.outputs["score"]).max()
        worst = max(worst, float(error))
    return worst < 1e-6, worst, None if worst < 1e-6 else "differs"


def test_a_sound_bundle_repeats_its_answers(bundle: Path) -> None:
    report = selftest_bundle(bundle, replay)
    assert report.passed
    assert [variant.precision for variant in report.variants] == ["fp32", "int8-static"]
    assert all(variant.max_abs_error == 0.0 for variant in report.variants)


def test_a_changed_bundle_is_not_loaded_at_all(bundle: Path) -> None:
    flip(bundle / "variants/int8-static/weights.data")
    asked: list[str] = []

    def record(precision: Precision, model: Path, golden: Path) -> tuple[bool, None, None]:
        asked.append(f"{precision} {model} {golden}")
        return True, None, None

    with pytest.raises(IntegrityError, match=r"weights\.data"):
        selftest_bundle(bundle, record)
    assert asked == []


def test_the_first_failing_variant_ends_the_selftest(bundle: Path) -> None:
    report = selftest_bundle(bundle, lambda *_: (False, 0.5, "differs"))
    assert not report.passed
    assert [(v.precision, v.reason, v.max_abs_error) for v in report.variants] == [
        ("fp32", "differs", 0.5)
    ]


def test_a_variant_that_does_not_load_fails_with_the_reason(bundle: Path) -> None:
    def refuse(precision: Precision, model: Path, golden: Path) -> tuple[bool, None, None]:
        del model, golden
        if precision == "int8-static":
            raise CheckFailed("onnxruntime does not load model.onnx")
        return True, None, None

    report = selftest_bundle(bundle, refuse)
    assert [variant.passed for variant in report.variants] == [True, False]
    assert report.variants[1].reason == "onnxruntime does not load model.onnx"


def test_a_missing_provider_is_not_blamed_on_the_bundle(bundle: Path) -> None:
    def lack(precision: Precision, model: Path, golden: Path) -> tuple[bool, None, None]:
        raise EnvironmentMissing(f"no provider for {precision} {model} {golden}")

    with pytest.raises(EnvironmentMissing):
        selftest_bundle(bundle, lack)


def test_verifying_and_building_import_neither_mlflow_nor_onnxruntime() -> None:
    program = (
        "import sys, slipway.packaging.bundle, slipway.packaging.selftest\n"
        "sys.exit(str([m for m in ('mlflow', 'onnxruntime', 'onnx') if m in sys.modules]))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stderr.strip() == "[]"
