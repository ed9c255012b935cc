"""Real tasks against a real server: hits, planted records, lost bytes, retries."""

import base64
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import Task, flow
from prefect.serializers import JSONSerializer

from slipway.artifacts import ONNX_MEDIA_TYPE, ArtifactRef
from slipway.errors import CheckFailed, EnvironmentMissing, StoreUnavailable
from slipway.reports import CacheReport, ConversionReport
from slipway.settings import Settings
from slipway.stores import open_store
from tasks.policy import cache_report, stage

pytestmark = pytest.mark.usefixtures("prefect_client")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def convert(ran: list[str]) -> Task[..., ConversionReport]:
    """A task like those of a release: it stores bytes and returns a report that refers to them."""

    @stage(
        name="convert",
        run_name="convert {content}",
        code_version=1,
        reads=lambda given: None if given["content"] == "never kept" else given["content"],
    )
    def made(content: str) -> ConversionReport:
        ran.append(content)
        kept = open_store(Settings().store_uri).put_bytes(
            content.encode(), media_type=ONNX_MEDIA_TYPE
        )
        return ConversionReport(precision="fp16", status="passed", model=kept)

    return made


def the_record() -> Path:
    (path,) = Settings().results.iterdir()
    return path


def test_the_second_run_is_served_from_the_record(
    convert: Task[..., ConversionReport], ran: list[str]
) -> None:
    first, second = convert("a"), convert("a")
    assert first == second
    assert isinstance(second, ConversionReport)
    assert ran == ["a"]
    convert("b")
    assert ran == ["a", "b"]


def test_a_call_without_a_key_runs_each_time(
    convert: Task[..., ConversionReport], ran: list[str]
) -> None:
    assert convert("never kept") == convert("never kept")
    assert len(ran) == 2


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.system, (f"touch {self.marker}",)


def plant_pickle(marker: Path) -> dict[str, Any]:
    raw = json.loads(the_record().read_bytes())
    raw["metadata"]["serializer"] = {"type": "pickle", "picklelib": "pickle"}
    raw["result"] = base64.encodebytes(pickle.dumps(Bomb(marker))).decode()
    return dict(raw)


def plant_decoder(marker: Path) -> dict[str, Any]:
    raw = json.loads(the_record().read_bytes())
    raw["metadata"]["serializer"]["jsonlib"] = "yaml"
    raw["metadata"]["serializer"]["object_decoder"] = "os.system"
    raw["result"] = f"touch {marker}"
    return dict(raw)


def plant_class(marker: Path) -> dict[str, Any]:
    raw = json.loads(the_record().read_bytes())
    raw["result"] = json.dumps({"__class__": "tests.tiny_models.save", "data": str(marker)})
    return dict(raw)


@pytest.mark.parametrize("plant", [plant_pickle, plant_decoder, plant_class])
def test_a_planted_record_runs_no_code_and_the_task_runs_again(
    plant: Callable[[Path], dict[str, Any]],
    convert: Task[..., ConversionReport],
    ran: list[str],
    tmp_path: Path,
) -> None:
    good = convert("a")
    the_record().write_text(json.dumps(plant(tmp_path / "marker")))
    assert convert("a") == good
    assert ran == ["a", "a"]
    assert not (tmp_path / "marker").exists()
    served = json.loads(the_record().read_bytes())
    assert served["metadata"]["serializer"] == JSONSerializer().model_dump(mode="json")
    convert("a")
    assert ran == ["a", "a"], "the record was not repaired"


def test_the_bomb_would_have_gone_off(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_lost_bytes_are_made_again(convert: Task[..., ConversionReport], ran: list[str]) -> None:
    made = convert("a").model
    assert isinstance(made, ArtifactRef)
    store = open_store(Settings().store_uri)
    store.delete(made.digest)
    assert convert("a").model == made
    assert ran == ["a", "a"]
    assert store.read_bytes(made.digest) == b"a"


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 100, b"null"])
def test_a_broken_record_is_made_again(
    content: bytes, convert: Task[..., ConversionReport], ran: list[str]
) -> None:
    good = convert("a")
    the_record().write_bytes(content)
    assert convert("a") == good
    assert ran == ["a", "a"]


def test_a_record_of_a_class_that_has_moved_is_made_again(
    convert: Task[..., ConversionReport], ran: list[str]
) -> None:
    good = convert("a")
    old = the_record().read_text().replace("reports.ConversionReport", "reports.OldReport")
    the_record().write_text(old)
    assert convert("a") == good
    assert ran == ["a", "a"]


def test_hits_and_misses_are_counted_for_each_flow_run(
    convert: Task[..., ConversionReport],
) -> None:
    @flow
    def both(*contents: str) -> CacheReport:
        for content in contents:
            convert(content)
        return cache_report()

    assert both("a", "b") == CacheReport(hits=0, misses=2)
    assert both("a", "b", "c", "never kept") == CacheReport(hits=2, misses=2)


@pytest.mark.parametrize(
    ("error", "tries"),
    [(StoreUnavailable("busy"), 3), (CheckFailed("wrong"), 1), (EnvironmentMissing("disk"), 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_task_is_tried_again_only_where_that_can_help(error: Exception, tries: int) -> None:
    calls = []

    @stage(name="flaky", run_name="flaky", retries=2)
    def flaky() -> None:
        calls.append(1)
        raise error

    flaky.retry_delay_seconds = [0.01]
    with pytest.raises(type(error), match=str(error)):
        flaky()
    assert len(calls) == tries


def test_a_transient_failure_that_passes_is_forgotten() -> None:
    calls = []

    @stage(name="flaky", run_name="flaky", code_version=1, reads=lambda _: "x")
    def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            raise StoreUnavailable("busy")
        return 7

    flaky.retry_delay_seconds = [0.01]
    assert flaky() == 7
    assert len(calls) == 3
