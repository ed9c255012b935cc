"""Flows run for real, on a small model, against one real Prefect server.

One full release is made for all tests; each then works on a copy of its home, where everything is
cached that its own change leaves alone.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.running import Ran, run
from tests.prefect_server import client_of, prefect_api, prefect_client, prefect_home
from tests.tiny_release import tiny, tiny_files, tiny_spec

__all__ = ["prefect_api", "prefect_client", "prefect_home", "tiny", "tiny_files"]


@pytest.fixture(scope="session")
def released(
    prefect_api: str, prefect_home: Path, tiny_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Ran]]:
    """A home in which the tiny release was made, and what came of it; not to be changed."""
    home = tmp_path_factory.mktemp("released")
    with client_of(prefect_api, prefect_home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLIPWAY_HOME", str(home))
        yield home, run(tiny_spec(tiny_files))


@pytest.fixture
def first(released: tuple[Path, Ran]) -> Ran:
    """What came of the release that the copied home has behind it."""
    return released[1]


@pytest.fixture
def home(released: tuple[Path, Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that home, for this test to work in."""
    copy = tmp_path / "home"
    shutil.copytree(released[0], copy)
    monkeypatch.setenv("SLIPWAY_HOME", str(copy))
    return copy


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing was ever done."""
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"
