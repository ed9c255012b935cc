"""Records of results: plain JSON of our own values, whole, and of bytes that are still there."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.serializers import JSONSerializer

from slipway.artifacts import ArtifactRef
from slipway.reports import CheckReport, ConversionReport
from slipway.stores.memory import MemoryStore
from slipway.stores.trees import put_tree
from tasks.results import JsonResults, RefusedRecordError, checked_record

PLAIN = JSONSerializer().model_dump(mode="json")


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def record_of(value: object, **metadata: Any) -> bytes:
    """A record as Prefect itself writes it."""
    made: ResultRecord[Any] = ResultRecord(
        result=value, metadata=ResultRecordMetadata(serializer=JSONSerializer(), storage_key="k")
    )
    raw = json.loads(made.serialize())
    raw["metadata"].update(metadata)
    return json.dumps(raw).encode()


def revive(content: bytes) -> object:
    return ResultRecord.deserialize(content).result


def conversion(ref: ArtifactRef | None) -> ConversionReport:
    return ConversionReport(precision="fp16", status="passed", model=ref)


def test_a_record_of_ours_comes_back_as_it_was(store: MemoryStore) -> None:
    report = conversion(store.put_bytes(b"model"))
    assert revive(checked_record(record_of(report), store)) == report


@pytest.mark.parametrize("value", [None, True, 3, "text", [1, {"a": None}], {"uri": "x"}])
def test_plain_json_comes_back_as_it_was(value: object, store: MemoryStore) -> None:
    assert revive(checked_record(record_of(value), store)) == value


@pytest.mark.parametrize(
    "serializer",
    [
        pytest.param({"type": "pickle", "picklelib": "cloudpickle"}, id="pickle"),
        pytest.param({"type": "compressed", "serializer": PLAIN}, id="compressed"),
        pytest.param({"type": "compressed/json", "serializer": PLAIN}, id="compressed json"),
        pytest.param({"type": "compressed/pickle"}, id="compressed pickle"),
        pytest.param({**PLAIN, "jsonlib": "pickle"}, id="another jsonlib"),
        pytest.param({**PLAIN, "object_decoder": "os.system"}, id="another decoder"),
        pytest.param({**PLAIN, "object_decoder": None}, id="no decoder"),
        pytest.param({**PLAIN, "loads_kwargs": {"parse_int": "x"}}, id="arguments for loads"),
        pytest.param({**PLAIN, "type": "JSON"}, id="another case"),
        pytest.param({"type": "json"}, id="only the type"),
        pytest.param("pickle", id="a name"),
        pytest.param(None, id="none"),
    ],
)
def test_any_other_deserializer_is_refused(serializer: object, store: MemoryStore) -> None:
    with pytest.raises(RefusedRecordError, match="deserializer other than plain JSON"):
        checked_record(record_of(1, serializer=serializer), store)


def with_result(text: str) -> bytes:
    return json.dumps({"metadata": {"serializer": PLAIN}, "result": text}).encode()


@pytest.mark.parametrize(
    "named",
    [
        "subprocess.Popen",
        "pydantic.BaseModel",
        "slipway",
        "slipway.reports.NoSuchReport",
        "slipway.no_such_module.Report",
        "slipway.errors.CheckFailed",
        "slipway.settings.Settings",
        "slipway.isolation.starting.subprocess",
        "slipway.reports.Literal",
        "slipwaylike.reports.CheckReport",
        "tests.tiny_models.save",
        ["slipway.reports.CheckReport"],
        None,
        7,
    ],
)
@pytest.mark.parametrize("deep", [False, True], ids=["whole", "inside"])
def test_only_values_of_ours_are_revived(*, named: object, deep: bool, store: MemoryStore) -> None:
    planted: object = {"__class__": named, "data": {"passed": True}}
    text = json.dumps([{"a": planted}] if deep else planted)
    with pytest.raises(RefusedRecordError, match="revives"):
        checked_record(with_result(text), store)


def test_no_exception_is_revived(store: MemoryStore) -> None:
    text = json.dumps({"__exc_type__": "slipway.errors.CheckFailed", "message": "x"})
    with pytest.raises(RefusedRecordError, match="revives the exception"):
        checked_record(with_result(text), store)


def test_what_is_served_is_what_was_checked(store: MemoryStore) -> None:
    # A key that is there twice may be read as its first or as its last value.
    good, bad = json.dumps(PLAIN), json.dumps({"type": "pickle"})
    result = json.dumps(json.dumps({"passed": True}))
    twice = f'{{"metadata": {{"serializer": {bad}, "serializer": {good}}}, "result": {result}}}'
    served = checked_record(twice.encode(), store)
    assert b"pickle" not in served
    assert revive(served) == {"passed": True}


def test_a_class_inside_a_class_twice_over_is_checked(store: MemoryStore) -> None:
    inner = '{"__class__": "os.system", "__class__": "slipway.reports.CheckReport", "data": {}}'
    served = checked_record(with_result(inner), store)
    assert b"os.system" not in served


def test_a_reference_to_lost_bytes_is_refused(store: MemoryStore) -> None:
    ref = store.put_bytes(b"model")
    content = record_of(conversion(ref))
    checked_record(content, store)
    store.delete(ref.digest)
    with pytest.raises(RefusedRecordError, match=f"{ref.digest} are gone"):
        checked_record(content, store)


def test_one_lost_file_of_a_tree_makes_its_record_worthless(
    store: MemoryStore, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    content = record_of(conversion(put_tree(store, tmp_path)))
    checked_record(content, store)
    store.delete(store.put_bytes(b"weights").digest)
    with pytest.raises(RefusedRecordError, match="are gone"):
        checked_record(content, store)


@pytest.mark.parametrize(
    "change", [{"digest": "sha256:xyz"}, {"digest": "../../etc"}, {"size_bytes": -1}]
)
def test_a_malformed_reference_is_refused(change: dict[str, Any], store: MemoryStore) -> None:
    raw = store.put_bytes(b"model").model_dump()
    with pytest.raises(RefusedRecordError, match="malformed reference"):
        checked_record(with_result(json.dumps({**raw, **change})), store)


@given(st.data())
def test_a_record_cut_short_anywhere_is_refused(data: st.DataObject) -> None:
    content = record_of(CheckReport(passed=True))
    cut = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(RefusedRecordError):
        checked_record(content[:cut], MemoryStore())


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes) -> None:
    with pytest.raises(RefusedRecordError):
        checked_record(noise, MemoryStore())


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_never_makes_a_foreign_object(place: int, byte: int) -> None:
    content = bytearray(record_of(CheckReport(passed=True)))
    content[place % len(content)] = byte
    try:
        served = checked_record(bytes(content), MemoryStore())
    except RefusedRecordError:
        return
    raw = json.loads(json.loads(served)["result"])
    assert json.loads(served)["metadata"]["serializer"] == PLAIN
    assert raw.get("__class__", "slipway.reports.CheckReport") == "slipway.reports.CheckReport"


@pytest.mark.parametrize("depth", [500, 100_000])
def test_a_bottomless_record_is_refused(depth: int, store: MemoryStore) -> None:
    for content in (b"[" * depth, with_result("[" * depth)):
        with pytest.raises(RefusedRecordError):
            checked_record(content, store)


def test_the_folder_follows_the_settings_of_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = JsonResults()
    for name in ("one", "two"):
        monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / name))
        results.write_path("sha256-aa", record_of(name))
    for name in ("one", "two"):
        monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / name))
        assert revive(results.read_path("sha256-aa")) == name
        assert [p.name for p in (tmp_path / name / "results").iterdir()] == ["sha256-aa"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd"])
def test_a_record_stays_inside_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="outside of the base path"):
        JsonResults().write_path(name, b"{}")


def test_a_failed_write_leaves_the_old_record_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    results = JsonResults()
    results.write_path("k", record_of("old"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        results.write_path("k", record_of("new"))
    assert revive(results.read_path("k")) == "old"
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["k"]


def test_concurrent_writers_leave_one_whole_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path))
    results = JsonResults()
    texts = [str(number) * 50_000 for number in range(4)]
    results.write_path("k", record_of(texts[0]))
    seen: list[object] = []

    def write(text: str) -> None:
        for _ in range(10):
            results.write_path("k", record_of(text))
            seen.append(revive(results.read_path("k")))

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 40
    assert set(seen) <= set(texts)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["k"]
