"""A bucket that is deleted in the middle of a release, and a damaged object, on a real server."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slipway.artifacts import BUNDLE_MEDIA_TYPE
from slipway.errors import IntegrityError, RequestError, SourceNotFound
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import bundle_tree
from slipway.promotion.log import read_log
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.specs import PromotionRequest
from slipway.stages.promoting import move, weigh
from slipway.stages.pulling import pull
from slipway.stages.registering import register_bundle
from slipway.stores import open_store
from slipway.stores.s3_client import open_client
from slipway.stores.s3_uploads import PART_BYTES
from slipway.stores.trees import put_tree
from tests.ceph_server import Ceph, ceph, use
from tests.contracts.registry_contract import registration_of
from tests.promotion_cases import release
from tests.sample_bundles import make_content

__all__ = ["ceph"]
pytest.importorskip("boto3", reason="boto3 is not installed")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module", autouse=True)
def _server(ceph: Ceph) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use(ceph, patch)
        yield


@pytest.fixture
def bucket(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A bucket of this test's own, which is the store."""
    name = f"models-{secrets.token_hex(4)}"
    client().create_bucket(Bucket=name)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_STORE", f"s3://{name}/x")
    monkeypatch.setenv("SLIPWAY_REGISTRY", f"memory://{request.node.nodeid}")
    yield name
    vanish(name)


def client() -> Any:
    return open_client(Settings())


def vanish(bucket: str) -> None:
    """Delete a bucket with all that is in it, where it is still there."""
    s3 = client()
    try:
        for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
            s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", ()):
            s3.delete_object(Bucket=bucket, Key=entry["Key"])
        s3.delete_bucket(Bucket=bucket)
    except s3.exceptions.NoSuchBucket:
        return


@pytest.fixture
def before_request() -> Iterator[Callable[[str, int, str], None]]:
    """Delete the bucket just before the nth request of a kind."""
    registered: list[tuple[str, Any]] = []

    def when(operation: str, nth: int, bucket: str) -> None:
        seen = 0

        def handler(**_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == nth:
                vanish(bucket)

        client().meta.events.register(f"before-call.s3.{operation}", handler)
        registered.append((f"before-call.s3.{operation}", handler))

    yield when
    for event, handler in registered:
        client().meta.events.unregister(event, handler)


def test_a_bucket_that_vanishes_while_parts_are_sent_is_named_with_the_way_out(
    bucket: str, before_request: Callable[[str, int, str], None], tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(secrets.token_bytes(3 * PART_BYTES + 1000))
    before_request("UploadPart", 3, bucket)
    with pytest.raises(RequestError, match=f"make the bucket {bucket}, or correct SLIPWAY_STORE"):
        open_store(Settings().store_uri).put_file(large, media_type="x")
    client().create_bucket(Bucket=bucket)
    store = open_store(Settings().store_uri)
    assert list(store.digests()) == []
    assert store.contains(store.put_file(large, media_type="x").digest)


@pytest.mark.parametrize(("operation", "nth"), [("PutObject", 7), ("HeadObject", 9)])
def test_a_bucket_that_vanishes_between_the_files_of_a_bundle_ends_the_release(
    bucket: str,
    before_request: Callable[[str, int, str], None],
    tmp_path: Path,
    operation: str,
    nth: int,
) -> None:
    build_bundle(tmp_path / "one", content=make_content(tmp_path / "content"))
    before_request(operation, nth, bucket)
    with pytest.raises(RequestError, match=f"make the bucket {bucket}"):
        put_tree(open_store(Settings().store_uri), tmp_path / "one", media_type=BUNDLE_MEDIA_TYPE)


def test_a_bucket_that_vanishes_before_a_server_is_told_leaves_no_version(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_bundle(tmp_path / "one", content=make_content(tmp_path / "content"))
    put_tree(open_store(Settings().store_uri), tmp_path / "one", tree=bundle_tree(tmp_path / "one"))
    vanish(bucket)
    monkeypatch.setenv("SLIPWAY_REGISTRY", "http://127.0.0.1:9")  # nobody: it must not be asked
    with pytest.raises(RequestError, match=f"make the bucket {bucket}"):
        register_bundle(registration_of(tmp_path / "one"), settings=Settings())


def promotion() -> Any:
    return weigh(PromotionRequest(name="table", version=1, by="anna"))


def test_a_bucket_that_vanishes_before_the_log_is_written_moves_no_alias(
    bucket: str, tmp_path: Path
) -> None:
    registry = open_registry(Settings().registry_uri)
    release(open_store(Settings().store_uri), registry, tmp_path / "1")
    weighed = promotion()
    vanish(bucket)
    with pytest.raises(RequestError, match=bucket):
        move(weighed)
    assert registry.aliases("table") == {}
    with pytest.raises(RequestError, match=bucket):
        pull("table/1", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_object_stops_promotion_and_pull_and_is_healed_by_the_next_release(
    bucket: str, tmp_path: Path
) -> None:
    store, registry = open_store(Settings().store_uri), open_registry(Settings().registry_uri)
    release(store, registry, tmp_path / "1")
    (largest, *_) = sorted(
        client().list_objects_v2(Bucket=bucket)["Contents"], key=lambda entry: -entry["Size"]
    )
    client().put_object(Bucket=bucket, Key=largest["Key"], Body=b"x" * largest["Size"])
    with pytest.raises(IntegrityError, match="version 1 of table is not whole"):
        promotion()
    with pytest.raises(SourceNotFound):  # it was set aside
        pull("table/1", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert registry.aliases("table") == {}
    release(store, registry, tmp_path / "1 again")
    assert move(promotion()).moved
    assert len(read_log(store, "table", "champion")) == 1
