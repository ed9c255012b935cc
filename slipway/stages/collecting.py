"""What a store holds and nothing refers to: found, and deleted when asked.

Kept is what a registered version's bundle, the log of an alias, or a cached result of this machine
refers to, with all files of its trees and all that the bundle was made from, and whatever is
younger than the age given: a release that runs has objects that no result names yet, and touches
those that it finds.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from slipway.artifacts import Tree, digest_bytes
from slipway.errors import IntegrityError, RequestError, SourceNotFound
from slipway.packaging.layout import EVIDENCE_NAME, MATERIALS_NAME
from slipway.packaging.manifest import Manifest
from slipway.promotion.log import logged_aliases, read_log
from slipway.protocols import Registry, Store, StoredObject
from slipway.registries import open_registry
from slipway.reports import CollectionReport
from slipway.settings import Settings
from slipway.stores import open_store

_DIGEST: Final = re.compile(rb"sha256:[0-9a-f]{64}")
_MANIFEST_LIMIT_BYTES: Final = 64 << 20
_NAMING: Final = frozenset({MATERIALS_NAME, EVIDENCE_NAME})
"""Files of a bundle that name what it was made from, and what was made on the way."""
DAY_S: Final = 86_400.0


def collect(
    *, settings: Settings | None = None, older_than_days: float = 7.0, delete: bool = False
) -> CollectionReport:
    """Find what nothing refers to in the store, and delete it when asked.

    Cached results of other machines are not known here: where several share a store, what their
    caches refer to may go, and they make it again when they need it.

    Args:
        settings: Which store, registry and cached results; from the environment if None.
        older_than_days: Younger objects stay, whether referred to or not; at least 1, which is
            longer than any release runs.
        delete: Delete; otherwise only say what would be.

    Raises:
        RequestError: for a smaller age.
        StoreUnavailable, RegistryUnavailable: when either cannot be asked; nothing is deleted then.
    """
    if older_than_days < 1:
        raise RequestError(
            f"{older_than_days:g} days: a release that runs now could lose what it has made; give "
            "at least 1"
        )
    settings = settings or Settings()
    store = open_store(settings.store_uri)
    before = time.time() - older_than_days * DAY_S
    objects = {stored.digest: stored for stored in store.listing()}
    registry = open_registry(settings.registry_uri)
    live = _with_files(store, objects, _roots(registry, store, settings))
    dead = [
        stored
        for stored in objects.values()
        if stored.digest not in live and stored.modified_s < before
    ]
    folders = tuple(store.folders())
    idle = [one for one in folders if one.digest not in live and one.modified_s < before]
    if delete:
        store.sweep(before)
        for folder in idle:
            store.remove_folder(folder.digest, before=before)
        for stored in dead:
            store.delete(stored.digest)
    return CollectionReport(
        store=store.uri,
        objects=len(objects),
        size_bytes=sum(stored.size_bytes for stored in objects.values()),
        live=sum(digest in live for digest in objects),
        unreferenced=tuple(sorted(stored.digest for stored in dead)),
        unreferenced_bytes=sum(stored.size_bytes for stored in dead),
        folders=len(folders),
        unreferenced_folders=tuple(sorted(folder.digest for folder in idle)),
        unreferenced_folders_bytes=sum(folder.size_bytes for folder in idle),
        deleted=delete,
    )


def _roots(registry: Registry, store: Store, settings: Settings) -> Iterator[str]:
    """The digests that something refers to by name."""
    for name in registry.names():
        for version in registry.versions(name):
            yield version.bundle_digest
    for name, alias in logged_aliases(store):
        # Of versions that are no longer registered, too: an alias may be rolled back there.
        for record in read_log(store, name, alias):
            yield record.to_digest
    for path in settings.results.glob("*"):
        if path.is_file():
            yield from _named_in(path)


def _named_in(path: Path) -> Iterator[str]:
    """Every digest that a record mentions, wherever it stands."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:  # replaced by a release that runs
        return
    for found in _DIGEST.findall(content):
        yield found.decode()


def _with_files(store: Store, objects: dict[str, StoredObject], roots: Iterator[str]) -> set[str]:
    """The roots, and for those that are the manifest of a tree or a bundle, what it names."""
    live: set[str] = set()
    waiting = list(roots)
    while waiting:
        digest = waiting.pop()
        if digest in live:
            continue
        live.add(digest)
        if digest in objects and objects[digest].size_bytes <= _MANIFEST_LIMIT_BYTES:
            files, further = _named_by(store, digest)
            live.update(files)
            waiting.extend(further)
    return live


def _named_by(store: Store, digest: str) -> tuple[set[str], set[str]]:
    """The files of a tree or a bundle, and what a bundle was made from, which may be trees."""
    try:
        content = store.read_bytes(digest)
    except (IntegrityError, SourceNotFound):  # damaged, or gone meanwhile
        return set(), set()
    try:
        tree = Manifest.from_json(content).tree()
    except IntegrityError:
        try:
            return _digests(Tree.from_json(content)), set()
        except IntegrityError:  # no manifest at all
            return set(), set()
    materials = [file.digest for file in tree.files if file.path in _NAMING]
    return {digest_bytes(tree.to_json()), *_digests(tree)}, {
        found.decode() for digest in materials for found in _DIGEST.findall(_content(store, digest))
    }


def _digests(tree: Tree) -> set[str]:
    return {file.digest for file in tree.files}


def _content(store: Store, digest: str) -> bytes:
    try:
        return store.read_bytes(digest)
    except (IntegrityError, SourceNotFound):
        return b""
