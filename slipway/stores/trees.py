"""Folders in a store: their files by digest, and a manifest that names them.

A model with external data is a tree, so that a 10 GB model is never one protobuf, and so that two
variants that share a weight file store it once.
"""

import secrets
import shutil
import tempfile
from pathlib import Path, PurePosixPath

from slipway.artifacts import TREE_MEDIA_TYPE, ArtifactRef, Tree, describe_tree
from slipway.errors import (
    IntegrityError,
    RequestError,
    SourceNotFound,
    StoreUnavailable,
    os_failure,
)
from slipway.protocols import Store


def put_tree(
    store: Store, folder: Path, *, media_type: str = TREE_MEDIA_TYPE, tree: Tree | None = None
) -> ArtifactRef:
    """Store a folder: its files first, the manifest last. The reference's digest is the manifest's.

    Args:
        store: Where to.
        folder: The folder. Empty folders in it, times and modes are not recorded.
        media_type: What the tree is.
        tree: The files to store, where the folder may hold others as well; all of them if None.

    Raises:
        SourceNotFound: when there is no such folder.
        IntegrityError: when it holds links or special files, or a file is not what `tree` says or
            changes while it is stored.
    """
    if not folder.is_dir():
        raise SourceNotFound(f"no folder at {folder}")
    tree = tree or describe_tree(folder)
    for file in tree.files:
        stored = store.put_file(folder / file.path, media_type="application/octet-stream")
        if stored.digest != file.digest:
            raise IntegrityError(
                f"{folder / file.path} is {stored.digest}, not {file.digest} as it was described; "
                "is something writing there?"
            )
    manifest = store.put_bytes(tree.to_json(), media_type=media_type)
    return manifest.model_copy(update={"size_bytes": tree.size_bytes})


def fetch(store: Store, ref: ArtifactRef, target: Path) -> Path:
    """Copy an artifact to a new path, verified: a file for a file, a folder for a tree.

    The target appears when it is complete; on any failure nothing is there.

    Raises:
        RequestError: when the target exists.
        SourceNotFound: when the bytes, or a file of the tree, are not in the store.
        IntegrityError: when bytes are not those named, or a path in the tree leads outside.
    """
    if target.exists() or target.is_symlink():
        raise RequestError(f"{target} exists already; fetch to a new path")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if ref.is_tree:
            _fetch_tree(store, _read_tree(store, ref), target)
        else:
            store.fetch_file(ref.digest, target)
    except OSError as error:
        raise os_failure(error, f"fetching to {target}", transient=StoreUnavailable) from error
    return target


def copy_to(source: Store, target: Store, ref: ArtifactRef) -> ArtifactRef:
    """Copy an artifact to another store, the manifest of a tree last; what is there stays.

    Every file that is copied is hashed on both ways; nothing is fetched of what the target has.

    Raises:
        SourceNotFound: when the bytes, or a file of the tree, are not in the source.
        IntegrityError: when bytes are not those named.
    """
    if not ref.is_tree:
        return _copy_file(source, target, ref)
    tree = _read_tree(source, ref)
    for file in tree.files:
        _copy_file(
            source,
            target,
            ArtifactRef(uri=ref.uri, digest=file.digest, size_bytes=file.size_bytes),
        )
    manifest = target.put_bytes(tree.to_json(), media_type=ref.media_type)
    return manifest.model_copy(update={"size_bytes": tree.size_bytes})


def contains_all(store: Store, ref: ArtifactRef) -> bool:
    """Whether the artifact can be fetched: its bytes, and every file of a tree, are there.

    A damaged manifest counts as absent, since whoever asks has to make the artifact again.
    """
    if not store.contains(ref.digest):
        return False
    if not ref.is_tree:
        return True
    try:
        tree = _read_tree(store, ref)
    except (IntegrityError, SourceNotFound):
        return False
    return all(store.contains(file.digest) for file in tree.files)


def _copy_file(source: Store, target: Store, ref: ArtifactRef) -> ArtifactRef:
    if target.contains(ref.digest):
        return ref.model_copy(update={"uri": target.uri})
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        path = Path(folder) / "copy"
        source.fetch_file(ref.digest, path)
        return target.put_file(path, media_type=ref.media_type)


def _read_tree(store: Store, ref: ArtifactRef) -> Tree:
    tree = Tree.from_json(store.read_bytes(ref.digest))
    paths = {file.path for file in tree.files}
    for file in tree.files:
        inside = next((p for p in PurePosixPath(file.path).parents if str(p) in paths), None)
        if inside is not None:
            raise IntegrityError(f"the tree {ref.digest} names {inside} as a file and as a folder")
    return tree


def _fetch_tree(store: Store, tree: Tree, target: Path) -> None:
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
    try:
        temporary.mkdir()
        for file in tree.files:
            path = temporary / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            store.fetch_file(file.digest, path)
            if path.stat().st_size != file.size_bytes:
                raise IntegrityError(
                    f"{file.path} has {path.stat().st_size} bytes, its manifest says "
                    f"{file.size_bytes}"
                )
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
