"""Models and data that were downloaded before: used again only where nothing has changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import IntegrityError, RequestError, SourceNotFound, StoreUnavailable
from slipway.specs import ReleaseSpec
from slipway.stages.making import fetch_materials
from slipway.stores import open_store
from tests.s3_server import S3Server, running, use

pytest.importorskip("boto3", reason="boto3 is not installed")


@pytest.fixture(scope="module")
def running_server() -> Iterator[S3Server]:
    with running() as server:
        yield server


@pytest.fixture
def server(running_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    use(monkeypatch, running_server)
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    running_server.buckets = {
        "models": {
            "digits/model.pt2": b"first",
            "saved/saved_model.pb": b"graph",
            "saved/variables/variables.index": b"index",
        }
    }
    running_server.answers, running_server.downloads = [], 0
    running_server.weak_tags = False
    return running_server


def spec(uri: str = "s3://models/digits/model.pt2", **source: str) -> ReleaseSpec:
    return ReleaseSpec.from_mapping(
        {"name": "tiny", "source": {"framework": "pytorch", "uri": uri, **source}}
    )


@pytest.mark.parametrize("uri", ["s3://models/digits/model.pt2", "s3://models/saved"])
def test_what_has_not_changed_is_not_downloaded_again(uri: str, server: S3Server) -> None:
    first = fetch_materials(spec(uri))
    downloads = server.downloads
    assert downloads
    assert fetch_materials(spec(uri)) == first
    assert server.downloads == downloads


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("s3://models/digits/model.pt2", "digits/model.pt2"),
        ("s3://models/saved", "saved/saved_model.pb"),
        ("s3://models/saved", "saved/assets/vocabulary.txt"),
    ],
)
def test_other_bytes_of_the_same_length_are_downloaded(
    uri: str, key: str, server: S3Server
) -> None:
    first = fetch_materials(spec(uri))
    server.buckets["models"][key] = b"other"
    second = fetch_materials(spec(uri))
    assert second.source.digest != first.source.digest
    assert fetch_materials(spec(uri)) == second


def test_a_file_that_is_gone_from_a_prefix_is_noticed(server: S3Server) -> None:
    first = fetch_materials(spec("s3://models/saved"))
    del server.buckets["models"]["saved/saved_model.pb"]
    assert fetch_materials(spec("s3://models/saved")).source.digest != first.source.digest


def test_a_weak_tag_proves_nothing(server: S3Server) -> None:
    server.weak_tags = True
    fetch_materials(spec())
    fetch_materials(spec())
    assert server.downloads == 2


def test_what_the_store_has_lost_is_downloaded_again(server: S3Server, tmp_path: Path) -> None:
    first = fetch_materials(spec())
    open_store(str(tmp_path / "home/store")).delete(first.source.digest)
    assert fetch_materials(spec()) == first
    assert server.downloads == 2


def test_another_store_gets_its_own_copy(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_materials(spec())
    monkeypatch.setenv("SLIPWAY_STORE", str(tmp_path / "elsewhere"))
    fetch_materials(spec())
    assert server.downloads == 2


def test_a_model_that_is_gone_is_not_found_though_it_was_kept(server: S3Server) -> None:
    fetch_materials(spec())
    del server.buckets["models"]["digits/model.pt2"]
    with pytest.raises(SourceNotFound, match=r"digits/model\.pt2"):
        fetch_materials(spec())


def test_rights_are_asked_for_each_time(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch_materials(spec())
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(RequestError, match="correct AWS_ACCESS_KEY_ID"):
        fetch_materials(spec())
    assert server.downloads == 1


def test_a_server_that_does_not_answer_is_not_taken_for_unchanged(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch_materials(spec())
    monkeypatch.setattr("slipway.stores.s3_client._ATTEMPTS", 1)
    server.answers = [503] * 9
    with pytest.raises(StoreUnavailable):
        fetch_materials(spec())


def test_bytes_that_the_spec_names_count_more_than_a_note(server: S3Server) -> None:
    fetch_materials(spec())
    wanted = digest_bytes(b"other").removeprefix("sha256:")
    with pytest.raises(IntegrityError, match="the spec says"):
        fetch_materials(spec(sha256=wanted))
    assert server.downloads == 2


def test_a_damaged_note_is_no_note(server: S3Server, tmp_path: Path) -> None:
    first = fetch_materials(spec())
    (note,) = (tmp_path / "home/sources").iterdir()
    note.write_text('{"marks": 3}')
    assert fetch_materials(spec()) == first
    assert server.downloads == 2
