"""Digests, trees and canonical JSON."""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from slipway.artifacts import (
    BUNDLE_MEDIA_TYPE,
    OCTETS_MEDIA_TYPE,
    TREE_MEDIA_TYPE,
    ArtifactRef,
    FileEntry,
    Tree,
    canonical_json,
    check_relative_path,
    describe_tree,
    digest_bytes,
    digest_file,
    walk_files,
)
from slipway.errors import IntegrityError

DIGEST = digest_bytes(b"")
parts = st.from_regex(r"[a-zA-Z0-9_.-]{1,12}", fullmatch=True).filter(
    lambda p: p not in {".", ".."}
)
paths = st.lists(parts, min_size=1, max_size=4).map("/".join)
trees = st.dictionaries(paths, st.binary(max_size=20), max_size=5).map(
    lambda files: Tree(
        files=tuple(
            FileEntry(path=path, digest=digest_bytes(data), size_bytes=len(data))
            for path, data in sorted(files.items())
        )
    )
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner)),
    max_leaves=12,
).filter(lambda value: "Infinity" not in json.dumps(value))


def unique(tree: Tree) -> bool:
    folded = [file.path.casefold() for file in tree.files]
    return len(set(folded)) == len(folded)


@given(trees.filter(unique))
def test_a_tree_survives_its_json(tree: Tree) -> None:
    assert Tree.from_json(tree.to_json()) == tree
    assert Tree.from_json(tree.to_json()).to_json() == tree.to_json()


@given(json_values)
def test_canonical_json_survives_and_is_one_for_equal_values(value: Any) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_canonical_json_forgets_the_order_of_keys(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(list(value.items())))) == canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_canonical_json_refuses_what_json_has_no_word_for(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


@given(data=st.binary(max_size=4000))
def test_a_file_and_its_bytes_have_one_digest(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data) == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_file_of_several_chunks_is_hashed_whole(tmp_path: Path) -> None:
    data = os.urandom((1 << 20) * 2 + 7)
    (tmp_path / "file").write_bytes(data)
    assert digest_file(tmp_path / "file") == digest_bytes(data)


@pytest.mark.parametrize(
    "digest", ["", "sha256:", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "md5:" + "a" * 64]
)
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ValidationError, match="is not a digest"):
        ArtifactRef(uri="x", digest=digest, size_bytes=0)


@given(paths)
def test_plain_relative_paths_are_taken(path: str) -> None:
    assert check_relative_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a/.", "a\\b", "C:/a", "c:a", "a\0b", ".."],
)
def test_paths_that_could_lead_outside_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is not a plain relative path"):
        check_relative_path(path)


@pytest.mark.parametrize("paths_", [("a", "a"), ("a", "A"), ("é", "É")])
def test_a_tree_that_names_a_path_twice_is_refused(paths_: tuple[str, str]) -> None:
    files = tuple(FileEntry(path=path, digest=DIGEST, size_bytes=0) for path in paths_)
    with pytest.raises(IntegrityError, match="names a path twice"):
        Tree.from_json(Tree(files=files).to_json())


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"files": [{"path": "../a"}]}', b"\xff"])
def test_what_is_no_tree_is_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a tree manifest"):
        Tree.from_json(data)


def test_equal_folders_give_equal_trees_whatever_their_times(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "b").write_bytes(b"b")
        (tmp_path / name / "inner" / "a").write_bytes(b"a")
    os.utime(tmp_path / "two" / "b", (0, 0))
    (tmp_path / "two" / "b").chmod(0o600)
    one, two = describe_tree(tmp_path / "one"), describe_tree(tmp_path / "two")
    assert one.to_json() == two.to_json()
    assert [file.path for file in one.files] == ["b", "inner/a"]
    assert one.size_bytes == 2


def test_a_symbolic_link_is_never_sealed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(IntegrityError, match="link is a symbolic link"):
        list(walk_files(tmp_path))


def test_a_pipe_is_never_sealed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(IntegrityError, match="pipe is neither a file nor a folder"):
        list(walk_files(tmp_path))


@pytest.mark.parametrize(
    ("media_type", "is_tree"),
    [(TREE_MEDIA_TYPE, True), (BUNDLE_MEDIA_TYPE, True), (OCTETS_MEDIA_TYPE, False)],
)
def test_trees_are_told_by_their_media_type(media_type: str, *, is_tree: bool) -> None:
    ref = ArtifactRef(uri="u", digest=DIGEST, size_bytes=0, media_type=media_type)
    assert ref.is_tree is is_tree


def test_values_are_frozen_and_refuse_what_they_do_not_know() -> None:
    entry = FileEntry(path="a", digest=DIGEST, size_bytes=0)
    with pytest.raises(ValidationError, match="frozen"):
        entry.path = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        FileEntry.model_validate({**entry.model_dump(), "mode": 0o777})
