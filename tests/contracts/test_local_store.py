import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import EnvironmentMissing, RequestError, StoreUnavailable, os_failure
from slipway.protocols import Store
from slipway.stores import open_store
from slipway.stores.local import STALE_TEMPORARY_S, LocalStore
from slipway.stores.trees import put_tree
from tests.contracts.store_contract import StoreContract

KILLED_AT_BYTE_N = """
import resource, signal, sys
from pathlib import Path
from slipway.stores import open_store
from slipway.stores.trees import put_tree
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL if sys.argv[4] == "die" else signal.SIG_IGN)
try:
    put_tree(open_store(sys.argv[1]), Path(sys.argv[2]))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class TestLocalStore(StoreContract):
    def make(self, folder: Path) -> Store:
        return LocalStore(folder)

    def damage(self, store: Store, digest: str) -> None:
        assert isinstance(store, LocalStore)
        path = store._path(digest)
        data = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def put_with_file_limit(
    store: Path, folder: Path, *, limit: int, end: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", KILLED_AT_BYTE_N, str(store), str(folder), str(limit), end],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("limit", [0, 1, 4096, 99_999])
def test_a_writer_killed_at_byte_n_leaves_nothing_visible(tmp_path: Path, limit: int) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights").write_bytes(b"w" * 100_000)
    ended = put_with_file_limit(tmp_path / "store", tmp_path / "in", limit=limit, end="die")
    assert ended.returncode == -signal.SIGXFSZ, ended.stderr
    store = open_store(str(tmp_path / "store"))
    assert list(store.digests()) == []
    ref = put_tree(store, tmp_path / "in")
    assert store.read_bytes(digest_bytes(b"w" * 100_000)) == b"w" * 100_000
    assert sorted(store.digests()) == sorted([ref.digest, digest_bytes(b"w" * 100_000)])


def test_a_writer_without_room_says_so_and_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "weights").write_bytes(b"w" * 100_000)
    ended = put_with_file_limit(tmp_path / "store", tmp_path / "in", limit=50_000, end="fail")
    assert ended.returncode == 1
    assert "EnvironmentMissing: storing weights in" in ended.stderr
    assert list((tmp_path / "store" / "tmp").iterdir()) == []
    assert not (tmp_path / "store" / "sha256").exists()


def test_a_full_disk_is_not_worth_a_retry() -> None:
    error = os_failure(OSError(errno.ENOSPC, "x"), "storing a", transient=StoreUnavailable)
    assert isinstance(error, EnvironmentMissing)
    assert "storing a: the disk is full" in str(error)


def test_an_input_output_error_is_worth_a_retry() -> None:
    error = os_failure(OSError(errno.ESTALE, "stale"), "storing a", transient=StoreUnavailable)
    assert isinstance(error, StoreUnavailable)


def _write_to_full_disk(store: LocalStore) -> None:
    # /dev/full answers every write with ENOSPC: the one full disk that needs no privilege.
    with store._writing("weights") as temporary:
        temporary.symlink_to("/dev/full")
        with temporary.open("wb", buffering=0) as file:
            file.write(b"data")


def test_a_really_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMissing, match=r"storing weights in .*: the disk is full"):
        _write_to_full_disk(LocalStore(tmp_path / "store"))
    assert list((tmp_path / "store" / "tmp").iterdir()) == []


def test_a_store_where_a_file_stands_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EnvironmentMissing, match="choose another folder"):
        open_store(str(tmp_path / "file")).put_bytes(b"data", media_type="x")


def test_objects_are_read_only_and_fetched_copies_are_not(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    ref = store.put_bytes(b"data", media_type="x")
    store.fetch_file(ref.digest, tmp_path / "out")
    assert store._path(ref.digest).stat().st_mode & 0o222 == 0
    assert (tmp_path / "out").stat().st_mode & 0o200


def test_a_truncated_object_is_written_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    ref = store.put_bytes(b"data", media_type="x")
    store._path(ref.digest).chmod(0o644)
    store._path(ref.digest).write_bytes(b"da")
    store.put_bytes(b"data", media_type="x")
    assert store.read_bytes(ref.digest) == b"data"


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    (tmp_path / "file").write_bytes(b"data")
    ref = store.put_file(tmp_path / "file", media_type="x")
    before = store._path(ref.digest).stat()
    store.put_file(tmp_path / "file", media_type="x")
    assert store._path(ref.digest).stat().st_ino == before.st_ino


def test_a_killed_writers_leavings_are_swept_after_a_day(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    store.put_bytes(b"one", media_type="x")
    old, young = store.root / "tmp" / "old", store.root / "tmp" / "young"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    past = old.stat().st_mtime - STALE_TEMPORARY_S - 1
    os.utime(old, (past, past))
    store.put_bytes(b"two", media_type="x")
    assert not old.exists()
    assert young.exists()
    assert store.sweep(time.time() + 60) == 1
    assert not young.exists()


def test_a_damaged_object_is_kept_aside_for_inspection(tmp_path: Path) -> None:
    contract = TestLocalStore()
    store = LocalStore(tmp_path / "store")
    ref = store.put_bytes(b"data", media_type="x")
    contract.damage(store, ref.digest)
    with pytest.raises(Exception, match="quarantine"):
        store.read_bytes(ref.digest)
    assert [p.name for p in (store.root / "quarantine").iterdir()] == [
        ref.digest.removeprefix("sha256:")
    ]


def test_a_digest_that_is_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="not a digest"):
        open_store(str(tmp_path)).read_bytes("sha256:../../etc/passwd")


def test_the_address_of_a_store_opens_it_again(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "a store"))
    ref = store.put_bytes(b"data", media_type="x")
    assert open_store(store.uri).read_bytes(ref.digest) == b"data"


def test_opening_a_store_creates_nothing(tmp_path: Path) -> None:
    open_store(str(tmp_path / "store")).contains(digest_bytes(b""))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["s4://bucket", "", "file://"])
def test_an_unknown_address_is_refused_naming_those_there(uri: str) -> None:
    with pytest.raises(RequestError, match=r"folder"):
        open_store(uri)
