"""The S3 store against a real server: the contract of all stores, crashes, races and refusals."""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import (
    EnvironmentMissing,
    IntegrityError,
    RequestError,
    StoreUnavailable,
)
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import bundle_tree, read_manifest
from slipway.packaging.verify import verify_bundle
from slipway.protocols import Registration, Store
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.stages.collecting import collect
from slipway.stores import open_store
from slipway.stores.s3 import S3Store
from slipway.stores.s3_client import open_client
from slipway.stores.s3_source import download
from slipway.stores.s3_uploads import PART_BYTES
from slipway.stores.trees import put_tree
from tests.ceph_server import Ceph, ceph, use
from tests.contracts.store_contract import StoreContract
from tests.sample_bundles import make_content

__all__ = ["ceph"]
pytest.importorskip("boto3", reason="boto3 is not installed")
pytestmark = pytest.mark.timeout(300)

BUCKET = "models"
PUT = """
import sys
from pathlib import Path
from slipway.stores import open_store
print("going", flush=True)
print(open_store(sys.argv[1]).put_file(Path(sys.argv[2])).digest)
"""


@pytest.fixture(scope="module", autouse=True)
def bucket(ceph: Ceph) -> Iterator[None]:
    """The environment of a user of the server, and an empty bucket."""
    with pytest.MonkeyPatch.context() as patch:
        use(ceph, patch)
        open_client(Settings()).create_bucket(Bucket=BUCKET)
        yield


@pytest.fixture
def uri() -> str:
    """A store of this test's own."""
    return f"s3://{BUCKET}/{secrets.token_hex(8)}"


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of four parts, the last one short."""
    path = tmp_path / "large"
    path.write_bytes(secrets.token_bytes(3 * PART_BYTES + 1000))
    return path


def client() -> Any:
    return open_client(Settings())


def uploads(uri: str) -> list[dict[str, Any]]:
    """The unfinished uploads below a store's prefix."""
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    answer = client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
    return list(answer.get("Uploads", ()))


def place(digest: str, uri: str) -> dict[str, str]:
    name = digest.removeprefix("sha256:")
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    return {"Bucket": BUCKET, "Key": f"{prefix}/sha256/{name[:2]}/{name}"}


class TestS3Store(StoreContract):
    def make(self, folder: Path) -> Store:
        return S3Store(f"s3://{BUCKET}/{secrets.token_hex(8)}/{folder.name}")

    def damage(self, store: Store, digest: str) -> None:
        assert isinstance(store, S3Store)
        data = client().get_object(**store._place(digest))["Body"].read()
        client().put_object(**store._place(digest), Body=bytes([data[0] ^ 1]) + data[1:])


def test_a_large_file_goes_up_in_parts_and_comes_back(
    uri: str, large: Path, tmp_path: Path
) -> None:
    store = open_store(uri)
    ref = store.put_file(large, media_type="x")
    assert client().head_object(**place(ref.digest, uri))["ETag"].strip('"').endswith("-4")
    store.fetch_file(ref.digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == large.read_bytes()
    assert uploads(uri) == []


def test_what_is_there_is_not_sent_again(uri: str, large: Path) -> None:
    store = open_store(uri)
    ref = store.put_file(large, media_type="x")
    before = client().head_object(**place(ref.digest, uri))["LastModified"]
    time.sleep(1.1)  # the service's clock shows seconds
    store.put_file(large, media_type="x")
    assert client().head_object(**place(ref.digest, uri))["LastModified"] == before


def test_a_killed_upload_is_not_seen_and_is_gone_on_with(uri: str, large: Path) -> None:
    digest = digest_bytes(large.read_bytes())
    first = _upload_one_part(uri, large, digest)
    store = open_store(uri)
    assert not store.contains(digest)
    assert list(store.digests()) == []
    ref = store.put_file(large, media_type="x")
    assert ref.digest == digest
    assert store.read_bytes(digest) == large.read_bytes()
    # The upload that was begun is the one that was completed.
    assert first not in [upload["UploadId"] for upload in uploads(uri)]
    assert uploads(uri) == []


def _upload_one_part(uri: str, path: Path, digest: str) -> str:
    """What a writer that was killed after its first part leaves."""
    begun = client().create_multipart_upload(**place(digest, uri))["UploadId"]
    client().upload_part(
        **place(digest, uri), UploadId=begun, PartNumber=1, Body=path.read_bytes()[:PART_BYTES]
    )
    return str(begun)


def test_a_part_with_other_bytes_is_sent_again(uri: str, large: Path) -> None:
    digest = digest_bytes(large.read_bytes())
    begun = client().create_multipart_upload(**place(digest, uri))["UploadId"]
    client().upload_part(**place(digest, uri), UploadId=begun, PartNumber=2, Body=b"x" * PART_BYTES)
    ref = open_store(uri).put_file(large, media_type="x")
    assert open_store(uri).read_bytes(ref.digest) == large.read_bytes()


@pytest.mark.parametrize("pause_s", [0.05, 0.3, 0.8])
def test_a_writer_killed_at_any_moment_leaves_all_or_nothing(
    uri: str, large: Path, pause_s: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PUT, uri, str(large)], stdout=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(pause_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = open_store(uri)
    digest = digest_bytes(large.read_bytes())
    assert list(store.digests()) in ([], [digest])
    store.put_file(large, media_type="x")
    assert store.read_bytes(digest) == large.read_bytes()


def test_two_writers_of_one_digest_make_one_object(uri: str, large: Path) -> None:
    failures: list[BaseException] = []

    def put() -> None:
        try:
            open_store(uri).put_file(large, media_type="x")
        except BaseException as error:  # noqa: BLE001 - whatever it is fails the test below
            failures.append(error)

    threads = [threading.Thread(target=put) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # A writer whose upload another one completed may be told to come again, which the tasks do.
    assert all(isinstance(failure, StoreUnavailable) for failure in failures), failures
    assert open_store(uri).put_file(large, media_type="x").digest == digest_bytes(
        large.read_bytes()
    )
    assert open_store(uri).read_bytes(digest_bytes(large.read_bytes())) == large.read_bytes()


def test_a_file_that_changes_while_it_is_sent_is_refused(
    uri: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = digest_bytes(large.read_bytes())
    monkeypatch.setattr("slipway.stores.copying.digest_file", lambda _: digest)
    large.write_bytes(large.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="is something writing there"):
        open_store(uri).put_file(large, media_type="x")
    assert list(open_store(uri).digests()) == []
    assert uploads(uri) == []


def test_a_gateway_that_dies_is_worth_a_retry_which_goes_on(
    ceph: Ceph, uri: str, large: Path, tmp_path: Path
) -> None:
    digest = digest_bytes(large.read_bytes())
    _upload_one_part(uri, large, digest)
    ceph.script("kill-rgw")
    try:
        with pytest.raises(StoreUnavailable):
            open_store(uri).put_file(large, media_type="x")
        with pytest.raises(StoreUnavailable):
            open_store(uri).fetch_file(digest, tmp_path / "out")
        assert list(tmp_path.iterdir()) == [large]
    finally:
        ceph.script("restart-rgw")
    open_store(uri).put_file(large, media_type="x")
    assert open_store(uri).contains(digest)


def test_a_truncated_object_is_replaced(uri: str) -> None:
    store = open_store(uri)
    ref = store.put_bytes(b"data", media_type="x")
    client().put_object(**place(ref.digest, uri), Body=b"da")
    store.put_bytes(b"data", media_type="x")
    assert store.read_bytes(ref.digest) == b"data"


def test_a_damaged_object_is_kept_aside_for_inspection(uri: str) -> None:
    store = open_store(uri)
    ref = store.put_bytes(b"data", media_type="x")
    client().put_object(**place(ref.digest, uri), Body=b"date")
    with pytest.raises(IntegrityError, match="quarantine"):
        store.read_bytes(ref.digest)
    assert not store.contains(ref.digest)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    name = ref.digest.removeprefix("sha256:")
    kept = client().get_object(Bucket=BUCKET, Key=f"{prefix}/quarantine/{name}")["Body"].read()
    assert kept == b"date"


def test_old_unfinished_uploads_can_be_ended(uri: str, large: Path) -> None:
    _upload_one_part(uri, large, digest_bytes(large.read_bytes()))
    store = open_store(uri)
    assert store.sweep(time.time() - 3600) == 0
    assert len(uploads(uri)) == 1
    assert store.sweep(time.time() + 60) == 1
    assert uploads(uri) == []


def test_what_a_writer_finds_after_long_is_young_again(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(uri)
    store.put_bytes(b"data", media_type="x")
    (before,) = store.listing()
    monkeypatch.setattr("slipway.stores.s3._TOUCH_AFTER_S", -60.0)
    time.sleep(1.1)  # the service's clock shows seconds
    store.put_bytes(b"data", media_type="x")
    (after,) = store.listing()
    assert after.modified_s > before.modified_s
    assert store.read_bytes(after.digest) == b"data"


def test_a_missing_bucket_is_named_with_the_way_out(large: Path) -> None:
    for path in (large, large.with_name("small")):
        path.touch()
        with pytest.raises(RequestError, match="make the bucket nowhere, or correct SLIPWAY_STORE"):
            open_store("s3://nowhere/x").put_file(path, media_type="x")


def test_wrong_credentials_are_the_users_to_correct(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RequestError, match="AWS_SECRET_ACCESS_KEY"):
        open_store(uri).put_bytes(b"data", media_type="x")


def test_no_credentials_are_missing(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(EnvironmentMissing, match="AWS_ACCESS_KEY_ID"):
        open_store(uri).put_bytes(b"data", media_type="x")


def test_the_acl_that_the_settings_name_is_written(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_S3_ACL", "public-read")
    ref = open_store(uri).put_bytes(b"data", media_type="x")
    grants = client().get_object_acl(**place(ref.digest, uri))["Grants"]
    assert any(grant["Grantee"].get("URI", "").endswith("AllUsers") for grant in grants)


@pytest.mark.parametrize("bad", ["s3://", "s3:///prefix"])
def test_an_address_without_a_bucket_is_refused(bad: str) -> None:
    with pytest.raises(RequestError, match="s3://BUCKET"):
        open_store(bad)


def requests_of(store: S3Store) -> list[tuple[str, str]]:
    """Every request that the store sends from now on: its operation and the object's key."""
    sent: list[tuple[str, str]] = []

    def note(model: Any, params: Any, **_: Any) -> None:
        sent.append((model.name, str(params["url_path"]).partition("?")[0]))

    store._client.meta.events.register("before-call.s3", note)
    return sent


def test_a_release_that_changes_one_variant_sends_that_variant_alone(
    uri: str, tmp_path: Path
) -> None:
    content = make_content(tmp_path / "content")
    build_bundle(tmp_path / "one", content=content)
    (tmp_path / "changed").mkdir()
    model = onnx.load(tmp_path / "content" / "model.onnx")
    model.graph.node[0].name = "renamed"
    onnx.save_model(model, tmp_path / "changed" / "model.onnx")
    variants = {**content.variants, "int8-static": tmp_path / "changed"}
    build_bundle(tmp_path / "two", content=replace(content, variants=variants))
    store = S3Store(uri)
    put_tree(store, tmp_path / "one", tree=bundle_tree(tmp_path / "one"))

    sent = requests_of(store)
    put_tree(store, tmp_path / "two", tree=bundle_tree(tmp_path / "two"))

    puts = {key.rpartition("/")[2] for operation, key in sent if operation.startswith("Put")}
    manifest = read_manifest(tmp_path / "two")
    names = {file.path for file in manifest.files if file.digest[7:] in puts}
    assert {name for name in names if name.startswith("variants/")} == {
        "variants/int8-static/MLmodel",
        "variants/int8-static/model.onnx",
    }
    # Besides: what names that variant by digest, the bundle's manifest and its tree.
    assert names - {name for name in names if name.startswith("variants/")} == {
        "MLmodel",
        "provenance.json",
    }
    assert len(puts) == len(names) + 2


def test_a_bundle_is_laid_out_as_a_folder_without_sending_it_again(
    uri: str, tmp_path: Path
) -> None:
    build_bundle(tmp_path / "one", content=make_content(tmp_path / "content"))
    tree, digest = bundle_tree(tmp_path / "one"), read_manifest(tmp_path / "one").digest
    store = S3Store(uri)
    put_tree(store, tmp_path / "one", tree=tree)
    sent = requests_of(store)
    address = store.lay_out(tree, digest)
    assert address == f"{uri}/bundles/{digest.removeprefix('sha256:')}"
    assert {operation for operation, _ in sent} == {"ListObjectsV2", "CopyObject"}
    downloaded = download(address, tmp_path / "out", settings=Settings()).path
    assert verify_bundle(downloaded, digest=digest).passed

    sent.clear()
    store.lay_out(tree, digest)
    assert [operation for operation, _ in sent] == ["ListObjectsV2"]


def test_folders_that_no_version_refers_to_are_found_and_go_when_asked(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(uri)
    build_bundle(tmp_path / "one", content=make_content(tmp_path / "content"))
    tree, registered = bundle_tree(tmp_path / "one"), read_manifest(tmp_path / "one").digest
    put_tree(store, tmp_path / "one", tree=tree)
    orphan, unfinished = digest_bytes(b"orphan"), digest_bytes(b"unfinished")
    for digest in (registered, orphan, unfinished):
        store.lay_out(tree, digest)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    folder = f"{prefix}/bundles/{unfinished.removeprefix('sha256:')}"
    for name in ("manifest.json", "MLmodel"):
        client().delete_object(Bucket=BUCKET, Key=f"{folder}/{name}")
    settings = Settings(home=tmp_path / "home", store=uri, registry=f"memory://{uri}")
    version = Registration(name="x", bundle=Path(), bundle_digest=registered, bundle_uri=uri)
    open_registry(settings.registry_uri).register(version)
    assert collect(settings=settings, delete=True).unreferenced_folders == ()  # too young

    def in_eight_days() -> float:
        return time.monotonic() - started + began + 8 * 86_400

    started, began = time.monotonic(), time.time()
    monkeypatch.setattr("slipway.stages.collecting.time.time", in_eight_days)
    found = collect(settings=settings)
    assert (found.folders, found.deleted) == (3, False)
    assert set(found.unreferenced_folders) == {orphan, unfinished}
    assert tree.size_bytes < found.unreferenced_folders_bytes < 2 * tree.size_bytes
    assert len(list(store.folders())) == 3
    assert set(collect(settings=settings, delete=True).unreferenced_folders) == {orphan, unfinished}
    monkeypatch.undo()
    (left,) = store.folders()
    assert left.digest == registered
    assert left.size_bytes == tree.size_bytes


def test_a_folder_that_is_about_to_be_referred_to_is_young_again(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = S3Store(uri)
    build_bundle(tmp_path / "one", content=make_content(tmp_path / "content"))
    tree, digest = bundle_tree(tmp_path / "one"), read_manifest(tmp_path / "one").digest
    put_tree(store, tmp_path / "one", tree=tree)
    store.lay_out(tree, digest)
    (before,) = store.folders()
    time.sleep(1.1)  # the service's clock shows seconds
    monkeypatch.setattr("slipway.stores.s3_folders._TOUCH_AFTER_S", -60.0)
    sent = requests_of(store)
    store.lay_out(tree, digest)
    assert [operation for operation, _ in sent] == ["ListObjectsV2", "CopyObject"]
    (after,) = store.folders()
    assert after.modified_s > before.modified_s
    assert not store.remove_folder(digest, before=before.modified_s + 1)
    assert store.remove_folder(digest, before=after.modified_s + 1)
    assert list(store.folders()) == []
