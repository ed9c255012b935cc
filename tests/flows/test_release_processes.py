"""Releases as processes: two at the same time, and one that is killed in the middle."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from slipway.artifacts import digest_file
from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.stores import open_store
from tasks.results import checked_record
from tests.prefect_server import environment

pytestmark = pytest.mark.slow

LIMIT_S = 120.0


@pytest.fixture
def spec_file(tiny: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "release.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    return path


@contextlib.contextmanager
def starting(
    spec_file: Path, home: Path, api: str, prefect_home: Path
) -> Iterator[subprocess.Popen[str]]:
    """`slipway release --json` in a process group of its own, over when the block is."""
    process = subprocess.Popen(
        [Path(sys.executable).with_name("slipway"), "release", str(spec_file), "--json"],
        env={**environment(prefect_home, api), "SLIPWAY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def answer_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out)  # type: ignore[no-any-return]


def test_two_releases_of_the_same_at_the_same_time_make_one_version(
    spec_file: Path, home: Path, first: Any, prefect_api: str, prefect_home: Path, tmp_path: Path
) -> None:
    # Everything up to the bundle is cached; unpacking and registering are left to race.
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (home / "store").rename(fresh / "store")
    (home / "results").rename(fresh / "results")
    with (
        starting(spec_file, fresh, prefect_api, prefect_home) as one,
        starting(spec_file, fresh, prefect_api, prefect_home) as other,
    ):
        answers = [answer_of(one), answer_of(other)]
    assert answers[0]["bundle"] == answers[1]["bundle"]
    assert answers[0]["bundle"]["digest"] == first.report.bundle.digest
    assert [answer["registered"]["version"] for answer in answers] == [1, 1]
    registry = open_registry(f"sqlite:///{fresh}/mlflow.db")
    assert len(registry.versions("tiny")) == 1
    assert registry.resolve("tiny", "challenger").version == 1
    assert [path.name for path in (fresh / "bundles/sha256").iterdir()] == [
        answers[0]["bundle"]["digest"].removeprefix("sha256:")
    ]


def records(home: Path) -> int:
    return len(list((home / "results").glob("sha256-*")))


def while_exporting(home: Path) -> bool:
    return any((home / "store/sha256").glob("*/*")) and records(home) == 0


def between_stages(home: Path) -> bool:
    return records(home) >= 5


@pytest.mark.parametrize("moment", [while_exporting, between_stages])
def test_a_release_that_is_killed_leaves_nothing_half_done_and_goes_on_next_time(
    moment: Callable[[Path], bool],
    spec_file: Path,
    prefect_api: str,
    prefect_home: Path,
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    with starting(spec_file, home, prefect_api, prefect_home) as process:
        deadline = time.monotonic() + LIMIT_S
        while not moment(home):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.5)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert alive == [], "an isolated child outlived the flow that started it"

    store = open_store(str(home / "store"))
    for path in (home / "store/sha256").glob("*/*"):
        assert digest_file(path) == f"sha256:{path.name}"
    for path in (home / "results").glob("sha256-*"):
        checked_record(path.read_bytes(), store)
    for path in (home / "bundles/sha256").glob("[0-9a-f]*"):
        assert verify_bundle(path).passed
    kept = records(home)

    with starting(spec_file, home, prefect_api, prefect_home) as process:
        answer = answer_of(process)
    assert answer["passed"]
    assert answer["registered"]["version"] == 1
    assert answer["cache"]["hits"] >= kept
    assert verify_bundle(Path(answer["bundle"]["path"])).passed
    assert len(open_registry(f"sqlite:///{home}/mlflow.db").versions("tiny")) == 1
