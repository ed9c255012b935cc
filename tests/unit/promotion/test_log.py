"""The log of an alias: what it keeps, and that nobody changes it unseen."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.artifacts import digest_bytes
from slipway.errors import IntegrityError
from slipway.promotion.log import append, logged_aliases, read_log
from slipway.promotion.records import PolicyReport, PromotionRecord, RuleResult
from slipway.stores.memory import MemoryStore

AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
versions = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def chained(wanted: list[int], *, alias: str = "champion") -> list[PromotionRecord]:
    """Records of moves to these versions."""
    records: list[PromotionRecord] = []
    for number, version in enumerate(wanted, start=1):
        last = records[-1] if records else None
        records.append(
            PromotionRecord(
                number=number,
                name="table",
                alias=alias,
                kind="promote",
                from_version=last.to_version if last else None,
                to_version=version,
                to_digest=digest_bytes(b"%d" % version),
                by="anna",
                at=AT,
                previous=last.digest if last else None,
                nonce="0",
            )
        )
    return records


def place(number: int) -> str:
    return f"promotions/table/champion/{number:08d}.json"


def written(records: list[PromotionRecord]) -> MemoryStore:
    store = MemoryStore()
    for record in records:
        assert append(store, record)
    return store


@given(versions)
def test_what_was_written_is_read_in_order(wanted: list[int]) -> None:
    records = chained(wanted)
    assert list(read_log(written(records), "table", "champion")) == records


@given(versions)
def test_a_record_comes_back_as_it_was_written(wanted: list[int]) -> None:
    for record in chained(wanted):
        assert PromotionRecord.from_json(record.to_json()) == record


def test_a_record_with_a_policy_comes_back_too() -> None:
    rule = RuleResult(rule="age", outcome="failed", value="9", bound="3", reason="old")
    policy = PolicyReport(passed=False, policy=digest_bytes(b"p"), rules=(rule,))
    record = chained([1])[0].model_copy(update={"policy": policy, "override": "now"})
    assert PromotionRecord.from_json(record.to_json()) == record


def test_an_alias_without_a_log_has_no_records() -> None:
    assert read_log(MemoryStore(), "table", "champion") == ()


@given(versions, st.data())
def test_any_changed_byte_is_found(wanted: list[int], data: st.DataObject) -> None:
    store = written(chained(wanted))
    number = data.draw(st.integers(1, len(wanted)))
    content = bytearray(store._records[place(number)])
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    store._records[place(number)] = bytes(content)
    with pytest.raises(IntegrityError, match=f"record {number}"):
        read_log(store, "table", "champion")


@given(versions.filter(lambda some: len(some) > 1), st.data())
def test_a_rewritten_record_no_longer_fits_the_next(wanted: list[int], data: st.DataObject) -> None:
    # Somebody who knows the format writes a whole new record, with a checksum that is right.
    records = chained(wanted)
    store = written(records)
    number = data.draw(st.integers(1, len(wanted) - 1))
    forged = records[number - 1].model_copy(update={"by": "mallory"})
    store._records[place(number)] = forged.to_json()
    with pytest.raises(IntegrityError, match=f"record {number + 1}"):
        read_log(store, "table", "champion")


@given(versions.filter(lambda some: len(some) > 1), st.data())
def test_a_removed_record_is_found(wanted: list[int], data: st.DataObject) -> None:
    store = written(chained(wanted))
    number = data.draw(st.integers(1, len(wanted) - 1))
    del store._records[place(number)]
    with pytest.raises(IntegrityError, match=f"record {number} is missing"):
        read_log(store, "table", "champion")


@given(versions.filter(lambda some: len(some) > 1), st.data())
def test_exchanged_records_are_found(wanted: list[int], data: st.DataObject) -> None:
    store = written(chained(wanted))
    numbers = st.integers(1, len(wanted))
    one, other = data.draw(st.lists(numbers, min_size=2, max_size=2, unique=True))
    kept = store._records
    kept[place(one)], kept[place(other)] = kept[place(other)], kept[place(one)]
    with pytest.raises(IntegrityError, match="record"):
        read_log(store, "table", "champion")


def test_a_record_of_another_alias_is_found() -> None:
    store = written(chained([1, 2], alias="challenger"))
    store._records[place(1)] = store._records["promotions/table/challenger/00000001.json"]
    with pytest.raises(IntegrityError, match="one of table@challenger"):
        read_log(store, "table", "champion")


def test_a_foreign_file_in_the_log_is_found() -> None:
    store = written(chained([1]))
    store.create_record("promotions/table/champion/notes.txt", b"hello")
    with pytest.raises(IntegrityError, match=r"notes\.txt is no record"):
        read_log(store, "table", "champion")


def test_only_the_first_of_two_writers_of_a_number_is_kept() -> None:
    mine, yours = chained([1])[0], chained([2])[0]
    store = MemoryStore()
    assert append(store, mine)
    assert not append(store, yours)
    assert append(store, mine)  # the same again, after an answer that was lost
    assert read_log(store, "table", "champion") == (mine,)


def test_aliases_with_a_log_are_told() -> None:
    store = written([*chained([1]), *chained([1, 2], alias="challenger")])
    assert logged_aliases(store, "table") == (("table", "challenger"), ("table", "champion"))
    assert logged_aliases(store) == logged_aliases(store, "table")
    assert logged_aliases(store, "tab") == ()
