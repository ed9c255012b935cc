"""A release whose bytes live in a bucket of a real S3 server."""

from pathlib import Path

import pytest

from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.stores import open_store
from slipway.stores.s3_client import open_client
from slipway.stores.trees import fetch
from tests.ceph_server import Ceph, ceph, use
from tests.flows.running import run
from tests.tiny_release import tiny_spec

__all__ = ["ceph"]
pytest.importorskip("boto3", reason="boto3 is not installed")
pytestmark = [
    pytest.mark.usefixtures("prefect_client", "empty_home"),
    pytest.mark.timeout(300),
    # MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


@pytest.fixture
def bucket(ceph: Ceph, monkeypatch: pytest.MonkeyPatch) -> str:
    use(ceph, monkeypatch)
    open_client(Settings()).create_bucket(Bucket="releases")
    monkeypatch.setenv("SLIPWAY_STORE", "s3://releases/slipway")
    return "s3://releases/slipway"


def test_a_release_is_stored_in_the_bucket_and_the_next_one_makes_nothing(
    bucket: str, tiny_files: Path, tmp_path: Path
) -> None:
    first = run(tiny_spec(tiny_files)).report
    assert first.passed
    assert first.bundle is not None
    assert first.registered is not None
    assert first.bundle.ref.uri.startswith(bucket)
    store = open_store(bucket)
    out = fetch(store, first.bundle.ref, tmp_path / "bundle")
    assert verify_bundle(out, digest=first.bundle.digest).passed
    kept = set(store.digests())
    again = run(tiny_spec(tiny_files)).report
    assert again.cache is not None
    assert again.cache.misses == 0
    assert set(store.digests()) == kept
    found = open_registry(Settings().registry_uri).find("tiny", first.bundle.digest)
    assert found is not None
    assert found.version == first.registered.version
