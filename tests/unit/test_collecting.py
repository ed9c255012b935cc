"""What goes from a store and what stays."""

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from slipway.artifacts import BUNDLE_MEDIA_TYPE, digest_bytes
from slipway.errors import RequestError
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import bundle_tree
from slipway.packaging.stored import StoredBundle
from slipway.promotion.log import append
from slipway.promotion.records import PromotionRecord
from slipway.protocols import Registration
from slipway.registries import open_registry
from slipway.registries.memory import MemoryRegistry
from slipway.settings import Settings
from slipway.stages.collecting import DAY_S, collect
from slipway.stores.local import LocalStore
from slipway.stores.trees import contains_all, put_tree
from tests.promotion_cases import release
from tests.sample_bundles import make_content


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    return Settings(home=tmp_path / "home", registry=f"memory://{request.node.name}")


@pytest.fixture
def store(settings: Settings) -> LocalStore:
    return LocalStore(Path(settings.store_uri))


def grow_old(store: LocalStore, *, days: float) -> None:
    then = time.time() - days * DAY_S
    for digest in store.digests():
        os.utime(store._path(digest), (then, then))


def register(settings: Settings, digest: str) -> None:
    registration = Registration(
        name="table", bundle=Path(), bundle_digest=digest, bundle_uri="file:///x"
    )
    open_registry(settings.registry_uri).register(registration)


def remember(settings: Settings, text: str) -> None:
    settings.results.mkdir(parents=True, exist_ok=True)
    (settings.results / "record").write_text(text, encoding="utf-8")


def folder(path: Path, *, weights: bytes) -> Path:
    path.mkdir()
    (path / "model.onnx").write_bytes(b"graph")
    (path / "weights").write_bytes(weights)
    return path


def test_what_nothing_refers_to_goes_when_asked(settings: Settings, store: LocalStore) -> None:
    ref = store.put_bytes(b"orphan", media_type="x")
    grow_old(store, days=8)
    report = collect(settings=settings)
    assert report.unreferenced == (ref.digest,)
    assert (report.unreferenced_bytes, report.deleted) == (6, False)
    assert store.contains(ref.digest)
    assert collect(settings=settings, delete=True).unreferenced == (ref.digest,)
    assert list(store.digests()) == []


def test_a_registered_bundle_stays_with_all_its_files(
    settings: Settings, store: LocalStore, tmp_path: Path
) -> None:
    mine = put_tree(store, folder(tmp_path / "a", weights=b"a"), media_type=BUNDLE_MEDIA_TYPE)
    other = put_tree(store, folder(tmp_path / "b", weights=b"b"), media_type=BUNDLE_MEDIA_TYPE)
    register(settings, mine.digest)
    grow_old(store, days=400)
    report = collect(settings=settings, delete=True)
    assert set(report.unreferenced) == {other.digest, digest_bytes(b"b")}
    assert contains_all(store, mine)


def test_a_bundle_in_an_aliass_log_stays_although_its_version_is_gone(
    settings: Settings, store: LocalStore, tmp_path: Path
) -> None:
    version = release(store, MemoryRegistry(), tmp_path / "one")
    record = PromotionRecord(
        number=1,
        name="table",
        alias="champion",
        kind="promote",
        from_version=None,
        to_version=version.version,
        to_digest=version.bundle_digest,
        by="anna",
        at=datetime(2026, 11, 21, tzinfo=UTC),
        previous=None,
        nonce="0",
    )
    append(store, record)
    grow_old(store, days=400)
    collect(settings=settings, delete=True)
    assert StoredBundle.of(store, version).verify() > 5


def test_what_a_registered_bundle_was_made_from_stays_too(
    settings: Settings, store: LocalStore, tmp_path: Path
) -> None:
    source = put_tree(store, folder(tmp_path / "source", weights=b"source"))
    data = store.put_bytes(b"calibration", media_type="x")
    named = f'{{"source": "{source.digest}", "calibration": "{data.digest}"}}'.encode()
    content = replace(
        make_content(tmp_path / "content"),
        evidence={"evidence/materials.json": named, "evidence/report.html": b"x"},
    )
    manifest = build_bundle(tmp_path / "bundle", content=content)
    ref = put_tree(
        store,
        tmp_path / "bundle",
        media_type=BUNDLE_MEDIA_TYPE,
        tree=bundle_tree(tmp_path / "bundle"),
    )
    register(settings, manifest.digest)
    grow_old(store, days=400)
    assert collect(settings=settings, delete=True).unreferenced == ()
    assert contains_all(store, ref)
    assert contains_all(store, source)


def test_what_a_cached_result_names_stays_with_all_its_files(
    settings: Settings, store: LocalStore, tmp_path: Path
) -> None:
    tree = put_tree(store, folder(tmp_path / "a", weights=b"a"))
    file = store.put_bytes(b"golden", media_type="x")
    remember(
        settings, f'{{"result": "{{\\"model\\": \\"{tree.digest}\\"}}", "g": "{file.digest}"}}'
    )
    grow_old(store, days=400)
    assert collect(settings=settings, delete=True).unreferenced == ()
    assert contains_all(store, tree)


def test_what_is_young_stays(settings: Settings, store: LocalStore) -> None:
    store.put_bytes(b"just made", media_type="x")
    grow_old(store, days=6.9)
    assert collect(settings=settings, delete=True).unreferenced == ()
    assert len(collect(settings=settings, older_than_days=6.8).unreferenced) == 1


def test_what_a_writer_finds_is_young_again(settings: Settings, store: LocalStore) -> None:
    store.put_bytes(b"found", media_type="x")
    grow_old(store, days=30)
    store.put_bytes(b"found", media_type="x")
    assert collect(settings=settings, delete=True).unreferenced == ()


def test_less_than_a_day_is_refused(settings: Settings) -> None:
    with pytest.raises(RequestError, match="at least 1"):
        collect(settings=settings, older_than_days=0.5)
