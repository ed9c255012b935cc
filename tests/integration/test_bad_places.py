"""What a release and a promotion get from places that fail: full, read-only, gone, damaged.

The right branch of the errors, nothing half-written, nothing half-registered; and when the place is
well again, the same request goes through.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from slipway.artifacts import BUNDLE_MEDIA_TYPE, ArtifactRef
from slipway.errors import EnvironmentMissing
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import bundle_tree
from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.stores import open_store
from slipway.stores.trees import contains_all, put_tree
from tests.contracts.registry_contract import registration_of
from tests.promotion_cases import release
from tests.sample_bundles import make_content

pytest.importorskip("mlflow", reason="MLflow is not installed")
pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

PAGE = 4096
PROGRAM = (sys.executable, "-c", "from slipway.cli import main; main()")
BALLAST = "ballast"


class Disk:
    """A small file system of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)

    def fill(self, *, leave: int = 0) -> None:
        """Take all space, or all but so many bytes."""
        with suppress(OSError), (self.folder / BALLAST).open("wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        if leave:
            size = (self.folder / BALLAST).stat().st_size
            os.truncate(self.folder / BALLAST, size - leave)

    def free(self) -> None:
        (self.folder / BALLAST).unlink()

    def files(self) -> set[str]:
        """All files but the ballast."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path.relative_to(self.folder)) for path in found} - {BALLAST}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of 16 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "slipway-test", str(folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build_bundle(folder / "bundle", content=make_content(folder / "content"))
    return folder / "bundle"


class Answered(NamedTuple):
    """What the program ended with, and its JSON."""

    returncode: int
    answer: dict[str, Any]


def slipway(*arguments: object) -> Answered:
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments), "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Answered(done.returncode, json.loads(done.stdout))


def with_little_room(disk: Disk, act: Callable[[], object], check: Callable[[], object]) -> int:
    """Try with ever more room until it is enough; each refusal says so, and leaves nothing."""
    for failures in range(16):
        disk.fill(leave=PAGE * (2**failures - 1))
        try:
            act()
        except EnvironmentMissing as error:
            told = str(error)
        else:
            disk.free()
            return failures
        assert "free space" in told
        disk.free()
        check()
    pytest.fail("it does not fit on the disk at all")


def test_a_full_store_keeps_what_it_has_and_takes_the_rest_when_there_is_room(
    disk: Disk, bundle: Path
) -> None:
    store = open_store(str(disk.folder / "store"))
    store.put_bytes(b"what was there before", media_type="text/plain")

    def put() -> ArtifactRef:
        return put_tree(store, bundle, media_type=BUNDLE_MEDIA_TYPE, tree=bundle_tree(bundle))

    def whole() -> None:
        assert all(store.read_bytes(digest) for digest in store.digests())
        assert list((disk.folder / "store" / "tmp").iterdir()) == []

    assert with_little_room(disk, put, whole) > 1
    whole()
    assert contains_all(store, put())


def test_a_record_that_does_not_fit_is_not_in_the_log(disk: Disk) -> None:
    store = open_store(str(disk.folder / "store"))
    name, data = "promotions/table/champion/00000001.json", b"x" * 3 * PAGE

    def nothing() -> None:
        assert store.records("promotions") == ()

    assert with_little_room(disk, lambda: store.create_record(name, data), nothing) > 1
    assert store.read_record(name) == data


def test_a_bundle_that_does_not_fit_is_not_there(disk: Disk, tmp_path: Path) -> None:
    content = make_content(tmp_path / "content")

    def nothing() -> None:
        assert disk.files() == set()

    assert with_little_room(
        disk, lambda: build_bundle(disk.folder / "bundle", content=content), nothing
    )
    assert verify_bundle(disk.folder / "bundle").passed


def test_a_database_on_a_full_disk_holds_no_half_of_a_version(disk: Disk, bundle: Path) -> None:
    registry = open_registry(f"sqlite:///{disk.folder}/mlflow.db")
    registration = registration_of(bundle)

    def nothing() -> None:
        assert registry.versions("table") == ()

    assert with_little_room(disk, lambda: registry.register(registration), nothing) > 1
    assert registry.resolve("table", "challenger").version == 1


def test_a_pull_to_a_full_disk_leaves_nothing_and_exits_with_3(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    settings = Settings()
    release(open_store(settings.store_uri), open_registry(settings.registry_uri), tmp_path / "1")
    disk.fill(leave=PAGE)
    done = slipway("pull", "table/1", "--out", disk.folder / "out")
    assert (done.returncode, done.answer["error"]["type"]) == (3, "EnvironmentMissing")
    assert "the disk is full; free space there" in done.answer["error"]["message"]
    assert disk.files() == set()


REGISTER = """
import sys
from pathlib import Path
from slipway.registries import open_registry
from tests.contracts.registry_contract import registration_of
open_registry(sys.argv[1]).register(registration_of(Path(sys.argv[2])))
"""


def test_a_read_only_database_is_not_written_and_says_so(
    disk: Disk, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{disk.folder}/mlflow.db"
    # A process of its own: what it has open is closed at its end.
    subprocess.run([sys.executable, "-c", REGISTER, uri, str(bundle)], check=True)
    before = disk.files()
    disk.remount("ro")
    registry = open_registry(uri)
    other = registration_of(bundle).model_copy(update={"name": "other"})
    for act in (
        lambda: registry.register(other),
        lambda: registry.set_alias("table", "champion", 1),
    ):
        with pytest.raises(EnvironmentMissing, match="read-only; choose another folder"):
            act()
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", uri)
    done = slipway("history", "table")
    assert (done.returncode, done.answer["error"]["type"]) == (3, "EnvironmentMissing")
    assert disk.files() == before
    disk.remount("rw")
    assert registry.resolve("table", "challenger").version == 1
    assert registry.register(other).version == 1
