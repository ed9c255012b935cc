"""What every store must do. A store's test inherits this and says how to make and damage one."""

import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slipway.artifacts import (
    BUNDLE_MEDIA_TYPE,
    ONNX_MEDIA_TYPE,
    TREE_MEDIA_TYPE,
    ArtifactRef,
    FileEntry,
    Tree,
    canonical_json,
    describe_tree,
    digest_bytes,
)
from slipway.errors import EnvironmentMissing, IntegrityError, RequestError, SourceNotFound
from slipway.protocols import Store
from slipway.stores.traffic import traffic
from slipway.stores.trees import contains_all, fetch, put_tree

ABSENT = digest_bytes(b"never stored")

# One inherited property runs against several stores: that is the point, and without a database of
# examples nothing is replayed against another store than the one that failed.
PROPERTIES = settings(
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.differing_executors],
)

names = st.text(alphabet="abcxyz09-_", min_size=1, max_size=6)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
folders = st.dictionaries(paths, st.binary(max_size=300), max_size=6).filter(
    lambda files: not any(a != b and b.startswith(a + "/") for a in files for b in files)
)


class StoreContract:
    """Inherit, define `make` and `damage`, and the store is tested."""

    def make(self, folder: Path) -> Store:
        """A fresh, empty store that may use the folder."""
        raise NotImplementedError

    def damage(self, store: Store, digest: str) -> None:
        """Change one byte of the stored object behind the store's back."""
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return self.make(tmp_path / "store")

    @given(data=st.binary(max_size=2000))
    @PROPERTIES
    def test_bytes_come_back_as_they_were(self, data: bytes) -> None:
        with TemporaryDirectory() as folder:
            store = self.make(Path(folder) / "store")
            ref = store.put_bytes(data, media_type=ONNX_MEDIA_TYPE)
            assert ref.digest == digest_bytes(data)
            assert ref.size_bytes == len(data)
            assert ref.media_type == ONNX_MEDIA_TYPE
            assert store.read_bytes(ref.digest) == data
            store.fetch_file(ref.digest, Path(folder) / "out")
            assert (Path(folder) / "out").read_bytes() == data

    @given(files=folders)
    @PROPERTIES
    def test_a_folder_comes_back_as_it_was(self, files: dict[str, bytes]) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "in").mkdir()
            for path, data in files.items():
                (folder / "in" / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / "in" / path).write_bytes(data)
            store = self.make(folder / "store")
            ref = put_tree(store, folder / "in")
            assert ref.media_type == TREE_MEDIA_TYPE
            assert ref.digest == digest_bytes(describe_tree(folder / "in").to_json())
            assert ref.size_bytes == sum(map(len, files.values()))
            assert contains_all(store, ref)
            out = fetch(store, ref, folder / "deep" / "out")
            assert describe_tree(out) == describe_tree(folder / "in")

    def test_a_file_and_its_bytes_are_the_same_content(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"weights")
        from_file = store.put_file(tmp_path / "file", media_type=ONNX_MEDIA_TYPE)
        assert from_file == store.put_bytes(b"weights", media_type=ONNX_MEDIA_TYPE)
        assert list(store.digests()) == [from_file.digest]

    def test_what_moves_is_counted_and_what_is_there_already_does_not_move(
        self, store: Store, tmp_path: Path
    ) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 300)
        before = traffic()
        ref = store.put_file(path, media_type=ONNX_MEDIA_TYPE)
        store.put_file(path, media_type=ONNX_MEDIA_TYPE)
        store.put_bytes(b"y" * 70, media_type=ONNX_MEDIA_TYPE)
        store.fetch_file(ref.digest, tmp_path / "copy")
        after = traffic()
        assert after.written_bytes - before.written_bytes == 370
        assert after.read_bytes - before.read_bytes == 300

    def test_what_was_put_is_contained_and_listed(self, store: Store) -> None:
        refs = [store.put_bytes(bytes([i]) * 10, media_type="x") for i in range(5)]
        assert sorted(store.digests()) == sorted(ref.digest for ref in refs)
        assert all(store.contains(ref.digest) for ref in refs)
        assert not store.contains(ABSENT)

    def test_the_listing_tells_sizes_and_ages(self, store: Store) -> None:
        before = time.time()
        ref = store.put_bytes(b"data", media_type="x")
        (stored,) = store.listing()
        assert (stored.digest, stored.size_bytes) == (ref.digest, 4)
        # A service's clock may show whole seconds.
        assert before - 2 < stored.modified_s < time.time() + 2

    def test_an_empty_store_has_no_digests(self, store: Store) -> None:
        assert list(store.digests()) == []
        assert not store.contains(ABSENT)

    def test_an_absent_digest_is_not_found(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFound, match=ABSENT):
            store.read_bytes(ABSENT)
        with pytest.raises(SourceNotFound, match=ABSENT):
            store.fetch_file(ABSENT, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_an_absent_file_is_not_found(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFound, match="nowhere"):
            store.put_file(tmp_path / "nowhere", media_type="x")

    def test_a_folder_is_not_stored_as_a_file(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(RequestError):
            store.put_file(tmp_path, media_type="x")

    def test_deleting_forgets_and_may_be_repeated(self, store: Store) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        store.delete(ref.digest)
        assert not store.contains(ref.digest)
        store.delete(ref.digest)

    def test_a_fetched_copy_is_independent_of_the_store(self, store: Store, tmp_path: Path) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        store.fetch_file(ref.digest, tmp_path / "out")
        assert (tmp_path / "out").stat().st_nlink == 1
        assert not (tmp_path / "out").is_symlink()
        (tmp_path / "out").write_bytes(b"other")
        assert store.read_bytes(ref.digest) == b"data"

    def test_a_fetch_does_not_overwrite(self, store: Store, tmp_path: Path) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        (tmp_path / "out").write_bytes(b"precious")
        with pytest.raises(RequestError, match="exists already"):
            store.fetch_file(ref.digest, tmp_path / "out")
        with pytest.raises(RequestError, match="exists already"):
            fetch(store, ref, tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == b"precious"

    def test_fetching_makes_the_folder(self, store: Store, tmp_path: Path) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        store.fetch_file(ref.digest, tmp_path / "deep" / "er" / "out")
        assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == ["out"]

    def test_fetching_under_a_file_is_refused_with_the_way_out(
        self, store: Store, tmp_path: Path
    ) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(EnvironmentMissing, match="choose another folder"):
            store.fetch_file(ref.digest, tmp_path / "file" / "out")

    @pytest.mark.parametrize("size", [1, 3_000_000])
    def test_a_changed_byte_is_found_and_nothing_is_left(
        self, store: Store, tmp_path: Path, size: int
    ) -> None:
        ref = store.put_bytes(b"x" * size, media_type="x")
        self.damage(store, ref.digest)
        with pytest.raises(IntegrityError, match=ref.digest.removeprefix("sha256:")):
            fetch(store, ref, tmp_path / "copy" / "out")
        assert list((tmp_path / "copy").iterdir()) == []

    def test_damaged_bytes_are_not_read(self, store: Store) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        self.damage(store, ref.digest)
        with pytest.raises(IntegrityError):
            store.read_bytes(ref.digest)

    def test_putting_again_heals_what_was_found_damaged(self, store: Store) -> None:
        ref = store.put_bytes(b"data", media_type="x")
        self.damage(store, ref.digest)
        with pytest.raises(IntegrityError):
            store.read_bytes(ref.digest)
        assert not store.contains(ref.digest)
        store.put_bytes(b"data", media_type="x")
        assert store.read_bytes(ref.digest) == b"data"

    def test_concurrent_writers_of_one_digest_all_succeed(
        self, store: Store, tmp_path: Path
    ) -> None:
        data = b"shared" * 50_000
        (tmp_path / "file").write_bytes(data)
        barrier, refs = threading.Barrier(8), []

        def write() -> None:
            barrier.wait()
            refs.append(store.put_file(tmp_path / "file", media_type="x"))

        threads = [threading.Thread(target=write) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refs) == 8
        assert len(set(refs_digests := [ref.digest for ref in refs])) == 1
        assert list(store.digests()) == refs_digests[:1]
        assert store.read_bytes(refs_digests[0]) == data

    def test_a_damaged_file_of_a_tree_leaves_no_folder(self, store: Store, tmp_path: Path) -> None:
        ref = put_tree(store, _folder(tmp_path / "in"))
        self.damage(store, digest_bytes(b"data"))
        with pytest.raises(IntegrityError):
            fetch(store, ref, tmp_path / "copy" / "out")
        assert list((tmp_path / "copy").iterdir()) == []

    def test_a_tree_without_one_of_its_files_is_not_contained(
        self, store: Store, tmp_path: Path
    ) -> None:
        ref = put_tree(store, _folder(tmp_path / "in"))
        assert contains_all(store, ref)
        store.delete(digest_bytes(b"data"))
        assert store.contains(ref.digest)
        assert not contains_all(store, ref)
        with pytest.raises(SourceNotFound):
            fetch(store, ref, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_damaged_manifest_is_not_contained(self, store: Store, tmp_path: Path) -> None:
        ref = put_tree(store, _folder(tmp_path / "in"))
        self.damage(store, ref.digest)
        assert not contains_all(store, ref)

    def test_an_absent_manifest_is_not_contained(self, store: Store) -> None:
        ref = ArtifactRef(uri="x", digest=ABSENT, size_bytes=0, media_type=TREE_MEDIA_TYPE)
        assert not contains_all(store, ref)

    def test_a_tree_may_leave_files_of_the_folder_out(self, store: Store, tmp_path: Path) -> None:
        folder = _folder(tmp_path / "in")
        tree = describe_tree(folder)
        (folder / "stray").write_bytes(b"not sealed")
        ref = put_tree(store, folder, media_type=BUNDLE_MEDIA_TYPE, tree=tree)
        assert ref.media_type == BUNDLE_MEDIA_TYPE
        assert describe_tree(fetch(store, ref, tmp_path / "out")) == tree

    def test_a_file_that_is_not_as_described_is_refused(self, store: Store, tmp_path: Path) -> None:
        folder = _folder(tmp_path / "in")
        tree = describe_tree(folder)
        (folder / "weights.data").write_bytes(b"changed")
        with pytest.raises(IntegrityError, match=r"weights\.data"):
            put_tree(store, folder, tree=tree)

    def test_a_link_in_a_folder_is_refused(self, store: Store, tmp_path: Path) -> None:
        folder = _folder(tmp_path / "in")
        (folder / "link").symlink_to("/etc/hostname")
        with pytest.raises(IntegrityError, match="symbolic link"):
            put_tree(store, folder)

    def test_an_absent_folder_is_not_found(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(SourceNotFound):
            put_tree(store, tmp_path / "nowhere")

    @pytest.mark.parametrize(
        "path", ["../out", "/tmp/out", "a/../../out", "a//b", "./a", "a\\b", "C:x", "", "a/", "a\0"]
    )
    def test_a_path_that_leads_outside_is_refused(
        self, store: Store, tmp_path: Path, path: str
    ) -> None:
        data = store.put_bytes(b"data", media_type="x")
        manifest = canonical_json(
            {"files": [{"path": path, "digest": data.digest, "size_bytes": 4}]}
        )
        ref = store.put_bytes(manifest, media_type=TREE_MEDIA_TYPE)
        with pytest.raises(IntegrityError):
            fetch(store, ref, tmp_path / "copy" / "out")
        assert list((tmp_path / "copy").iterdir()) == []
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("clash", [("a", "a"), ("a", "A"), ("a", "a/b")])
    def test_paths_that_clash_are_refused(
        self, store: Store, tmp_path: Path, clash: tuple[str, str]
    ) -> None:
        data = store.put_bytes(b"data", media_type="x")
        entries = tuple(FileEntry(path=p, digest=data.digest, size_bytes=4) for p in clash)
        ref = store.put_bytes(Tree(files=entries).to_json(), media_type=TREE_MEDIA_TYPE)
        with pytest.raises(IntegrityError):
            fetch(store, ref, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_size_that_is_not_the_files_is_refused(self, store: Store, tmp_path: Path) -> None:
        data = store.put_bytes(b"data", media_type="x")
        tree = Tree(files=(FileEntry(path="a", digest=data.digest, size_bytes=5),))
        ref = store.put_bytes(tree.to_json(), media_type=TREE_MEDIA_TYPE)
        with pytest.raises(IntegrityError, match="4 bytes"):
            fetch(store, ref, tmp_path / "out")

    def test_a_tree_that_is_no_manifest_is_refused(self, store: Store, tmp_path: Path) -> None:
        ref = store.put_bytes(b"\x80 not json", media_type=TREE_MEDIA_TYPE)
        with pytest.raises(IntegrityError, match="not a tree manifest"):
            fetch(store, ref, tmp_path / "out")

    def test_a_record_is_written_once_and_read_by_its_name(self, store: Store) -> None:
        assert store.create_record("log/a/1.json", b"first")
        assert not store.create_record("log/a/1.json", b"second")
        assert store.read_record("log/a/1.json") == b"first"

    def test_who_finds_its_own_record_there_was_the_first(self, store: Store) -> None:
        # As after an answer that was lost on its way: the writer asks again.
        assert store.create_record("log/1", b"mine")
        assert store.create_record("log/1", b"mine")

    def test_of_many_writers_of_one_record_exactly_one_wins(self, store: Store) -> None:
        for number in range(3):
            barrier = threading.Barrier(8)
            won: list[bytes] = []

            def write(mine: bytes, name: str, barrier: threading.Barrier, won: list[bytes]) -> None:
                barrier.wait()
                if store.create_record(name, mine):
                    won.append(mine)

            threads = [
                threading.Thread(target=write, args=(b"%d" % writer, f"log/{number}", barrier, won))
                for writer in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(won) == 1
            assert store.read_record(f"log/{number}") == won[0]

    def test_records_are_listed_by_folder_in_order(self, store: Store) -> None:
        for name in ("log/b/2", "log/a/2", "log/a/1", "logs/1"):
            store.create_record(name, b"x")
        assert store.records("log") == ("log/a/1", "log/a/2", "log/b/2")
        assert store.records("log/a") == ("log/a/1", "log/a/2")
        assert store.records("nothing") == ()

    def test_a_record_is_no_object(self, store: Store) -> None:
        store.create_record("log/1", b"x")
        assert list(store.listing()) == []
        assert not store.contains(digest_bytes(b"x"))

    def test_an_absent_record_is_not_found(self, store: Store) -> None:
        with pytest.raises(SourceNotFound, match="log/1"):
            store.read_record("log/1")

    @pytest.mark.parametrize("name", ["../out", "/tmp/out", "a//b", "", "a\\b"])
    def test_a_records_name_stays_inside(self, store: Store, name: str) -> None:
        with pytest.raises(RequestError):
            store.create_record(name, b"x")
        with pytest.raises(RequestError):
            store.read_record(name)


def _folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "weights.data").write_bytes(b"data")
    return folder
