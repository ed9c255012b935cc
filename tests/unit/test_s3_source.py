"""Files at s3:// addresses: what arrives, and what each failure is called."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.errors import (
    EnvironmentMissing,
    RequestError,
    SourceNotFound,
    StoreUnavailable,
)
from slipway.stores.s3_source import download
from tests.s3_server import REGION, SECRET, S3Server, running, use

pytest.importorskip("boto3", reason="boto3 is not installed")
BYTES = bytes(range(256)) * 9000


@pytest.fixture(scope="module")
def running_server() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture
def server(running_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    use(monkeypatch, running_server)
    running_server.buckets = {
        "models": {
            "digits/model v1+a.pt2": BYTES,
            "saved/saved_model.pb": b"graph",
            "saved/variables/variables.index": b"index",
            "saved/": b"",
            "hostile/../../outside": b"x",
        }
    }
    running_server.answers, running_server.cut_bodies = [], False
    return running_server


@pytest.mark.usefixtures("server")
def test_an_object_arrives_under_its_name(tmp_path: Path) -> None:
    path = download("s3://models/digits/model v1+a.pt2", tmp_path).path
    assert path == tmp_path / "model v1+a.pt2"
    assert path.read_bytes() == BYTES


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("uri", ["s3://models/saved", "s3://models/saved/"])
def test_a_prefix_arrives_as_a_folder(uri: str, tmp_path: Path) -> None:
    folder = download(uri, tmp_path).path
    files = {p.relative_to(tmp_path).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {"saved/saved_model.pb", "saved/variables/variables.index"}


@pytest.mark.usefixtures("server")
def test_the_standard_variables_are_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: S3Server
) -> None:
    monkeypatch.delenv("SLIPWAY_S3_ENDPOINT_URL")
    monkeypatch.delenv("SLIPWAY_S3_REGION")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
    monkeypatch.setenv("AWS_REGION", REGION)
    assert download("s3://models/saved/saved_model.pb", tmp_path).path.read_bytes() == b"graph"


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("uri", ["s3://models/absent.pt2", "s3://nobucket/a", "s3://models/no/"])
def test_what_is_not_there_is_not_found(uri: str, tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match=uri):
        download(uri, tmp_path)


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize(
    ("variable", "value"),
    [("AWS_ACCESS_KEY_ID", "AKIDOTHER"), ("AWS_SECRET_ACCESS_KEY", SECRET + "!")],
)
def test_wrong_credentials_are_a_wrong_request(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(RequestError, match="correct AWS_ACCESS_KEY_ID") as refused:
        download("s3://models/saved/saved_model.pb", tmp_path)
    assert SECRET not in str(refused.value)
    assert not isinstance(refused.value, SourceNotFound)


@pytest.mark.usefixtures("server")
def test_no_credentials_at_all_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(EnvironmentMissing, match="set AWS_ACCESS_KEY_ID"):
        download("s3://models/saved/saved_model.pb", tmp_path)


def test_a_busy_server_is_asked_again(server: S3Server, tmp_path: Path) -> None:
    server.answers = [503]
    assert download("s3://models/saved/saved_model.pb", tmp_path).path.read_bytes() == b"graph"


@pytest.mark.usefixtures("server")
def test_an_unreachable_server_may_be_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.stores.s3_client._ATTEMPTS", 1)
    monkeypatch.setenv("SLIPWAY_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:9"):
        download("s3://models/saved/saved_model.pb", tmp_path)


def test_a_server_that_stays_busy_may_be_free_later(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.stores.s3_client._ATTEMPTS", 1)
    server.answers = [503] * 9
    with pytest.raises(StoreUnavailable):
        download("s3://models/saved/saved_model.pb", tmp_path)


def test_a_body_that_ends_early_is_never_taken_for_whole(server: S3Server, tmp_path: Path) -> None:
    server.cut_bodies = True
    with pytest.raises(StoreUnavailable, match="downloading"):
        download("s3://models/digits/model v1+a.pt2", tmp_path)


@pytest.mark.usefixtures("server")
def test_a_key_that_leads_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot become a file"):
        download("s3://models/hostile/", tmp_path / "here")
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("uri", ["s3://", "s3:///key"])
def test_an_address_without_a_bucket_is_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="s3://BUCKET/KEY"):
        download(uri, tmp_path)


@pytest.mark.usefixtures("server")
def test_an_endpoint_that_is_no_address_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_S3_ENDPOINT_URL", "not an address")
    with pytest.raises(RequestError, match="SLIPWAY_S3_ENDPOINT_URL"):
        download("s3://models/a", tmp_path)
