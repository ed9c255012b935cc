"""The alias follows the log: conflicts, crashes, drift, shortened logs, and the way back."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.artifacts import digest_bytes
from slipway.errors import (
    AliasMoved,
    IntegrityError,
    RegistryUnavailable,
    RequestError,
    SourceNotFound,
)
from slipway.promotion.log import append, read_log
from slipway.promotion.moving import (
    commit,
    follow,
    look,
    must_agree,
    rollback_target,
)
from slipway.promotion.records import Kind, PromotionRecord
from slipway.protocols import Registration
from slipway.registries.memory import MemoryRegistry
from slipway.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registry() -> MemoryRegistry:
    return filled()


def filled(versions: int = 4) -> MemoryRegistry:
    registry = MemoryRegistry()
    for number in range(1, versions + 1):
        registry.register(
            Registration(
                name="table",
                bundle=Path(),
                bundle_digest=digest_bytes(b"%d" % number),
                bundle_uri="x",
                description="A table model.",
            )
        )
    return registry


def planned(
    store: MemoryStore,
    registry: MemoryRegistry,
    to: int,
    *,
    by: str = "anna",
    kind: Kind = "promote",
) -> PromotionRecord:
    """The record that would move the alias there, as things are now."""
    state = look(store, registry, "table", "champion")
    return PromotionRecord(
        number=len(state.records) + 1,
        name="table",
        alias="champion",
        kind=kind,
        from_version=state.current,
        to_version=to,
        to_digest=digest_bytes(b"%d" % to),
        by=by,
        at=datetime(2026, 11, 21, 20, 0, tzinfo=UTC),
        previous=state.head.digest if state.head else None,
        nonce=by,
    )


def moved(store: MemoryStore, registry: MemoryRegistry, *to: int) -> None:
    for version in to:
        commit(store, registry, planned(store, registry, version))


def test_a_move_is_in_the_log_and_in_the_registry(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1, 2)
    state = look(store, registry, "table", "champion")
    assert [record.to_version for record in state.records] == [1, 2]
    assert (state.current, state.pointed, state.drift) == (2, 2, None)


def test_the_move_is_told_on_both_versions(store: MemoryStore, registry: MemoryRegistry) -> None:
    moved(store, registry, 1, 2)
    for version in (1, 2):
        about = registry.about("table", version)
        assert about.tags["promotion.champion"].startswith("#2 sha256:")
        assert "version 1 to version 2" in about.description
        assert about.description.startswith("A table model.")
        assert about.description.count("(record 2)") == 1


def test_of_two_who_saw_the_same_champion_one_is_refused(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1)
    mine = planned(store, registry, 2)
    yours = planned(store, registry, 3, by="boris")
    commit(store, registry, yours)
    with pytest.raises(AliasMoved, match="boris moved table@champion to version 3 in the"):
        commit(store, registry, mine)
    assert look(store, registry, "table", "champion").pointed == 3


def test_a_rival_in_the_last_moment_is_named(
    store: MemoryStore, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(store, registry, 1)
    mine, yours = planned(store, registry, 2), planned(store, registry, 3, by="boris")
    create = store.create_record

    def late(name: str, data: bytes) -> bool:
        create(name, yours.to_json())
        return create(name, data)

    monkeypatch.setattr(store, "create_record", late)
    with pytest.raises(AliasMoved, match="boris moved table@champion to version 3 in the meantime"):
        commit(store, registry, mine)


def test_many_at_once_make_one_unbroken_log() -> None:
    store, registry = MemoryStore(), filled(9)
    barrier, refused = threading.Barrier(8), []

    def promote(version: int) -> None:
        barrier.wait()
        for _ in range(3):
            try:
                commit(store, registry, planned(store, registry, version, by=str(version)))
            except AliasMoved as error:
                refused.append(error)

    threads = [threading.Thread(target=promote, args=(v,)) for v in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    follow(store, registry, "table", "champion")  # the last one may have seen drift and given up
    state = look(store, registry, "table", "champion")
    assert len(state.records) + len(refused) == 24
    assert state.drift is None


def test_the_same_record_may_be_committed_again(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    record = planned(store, registry, 1)
    commit(store, registry, record)
    commit(store, registry, record)
    assert len(read_log(store, "table", "champion")) == 1


def test_a_move_that_lost_its_registry_is_finished_by_the_next_try(
    store: MemoryStore, registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved(store, registry, 1)
    record = planned(store, registry, 2)

    def fail(name: str, alias: str, version: int) -> None:
        raise RegistryUnavailable(f"no answer for {name}@{alias} {version}")

    with monkeypatch.context() as patch:
        patch.setattr(registry, "set_alias", fail)
        with pytest.raises(RegistryUnavailable):
            commit(store, registry, record)
    drifted = look(store, registry, "table", "champion")
    assert drifted.drift is not None
    with pytest.raises(AliasMoved, match="--repair"):
        must_agree(drifted)
    commit(store, registry, record)
    assert look(store, registry, "table", "champion").drift is None


def test_an_alias_that_was_moved_by_hand_is_found_and_repaired(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1, 2)
    registry.set_alias("table", "champion", 4)
    drift = look(store, registry, "table", "champion").drift
    assert drift is not None
    assert "the log says that table@champion is version 2" in drift
    assert "points at version 4" in drift
    with pytest.raises(AliasMoved, match="--repair"):
        commit(store, registry, planned(store, registry, 3))
    follow(store, registry, "table", "champion")
    assert look(store, registry, "table", "champion").pointed == 2


def test_an_alias_from_before_the_log_is_where_the_first_record_starts(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    registry.set_alias("table", "champion", 3)
    moved(store, registry, 4)
    (record,) = read_log(store, "table", "champion")
    assert record.from_version == 3
    assert rollback_target(look(store, registry, "table", "champion")) == (3, None)


def test_a_first_move_is_refused_when_the_alias_was_set_by_hand_meanwhile(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    record = planned(store, registry, 1)
    registry.set_alias("table", "champion", 3)
    with pytest.raises(AliasMoved, match="points at version 3, not nowhere"):
        commit(store, registry, record)
    assert read_log(store, "table", "champion") == ()


def test_a_log_whose_end_was_removed_is_found_by_what_the_versions_know(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1, 2, 3)
    del store._records["promotions/table/champion/00000003.json"]
    with pytest.raises(IntegrityError, match=r"version [23] knows of record 3"):
        look(store, registry, "table", "champion")


def test_another_store_than_the_logs_is_found(store: MemoryStore, registry: MemoryRegistry) -> None:
    moved(store, registry, 1)
    with pytest.raises(IntegrityError, match="SLIPWAY_STORE names another store"):
        look(MemoryStore(), registry, "table", "champion")


def test_a_last_record_that_was_written_anew_is_found(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1, 2)
    last = read_log(store, "table", "champion")[-1]
    forged = last.model_copy(update={"by": "mallory"})
    store._records["promotions/table/champion/00000002.json"] = forged.to_json()
    with pytest.raises(IntegrityError, match="record 2 is not the one that moved the alias"):
        look(store, registry, "table", "champion")


@pytest.mark.parametrize(
    ("moves", "target"),
    [("12", 1), ("123", 2), ("123r", 1), ("12r3", 1), ("123r4", 2), ("123rr", None), ("1", None)],
)
def test_a_rollback_goes_to_the_last_good_version(
    store: MemoryStore, registry: MemoryRegistry, moves: str, target: int | None
) -> None:
    for move in moves:
        if move == "r":
            to, _ = rollback_target(look(store, registry, "table", "champion"))
            commit(store, registry, planned(store, registry, to, kind="rollback"))
        else:
            moved(store, registry, int(move))
    state = look(store, registry, "table", "champion")
    if target is None:
        with pytest.raises(RequestError, match="nothing to roll back to"):
            rollback_target(state)
    else:
        assert rollback_target(state)[0] == target


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8))
def test_rolling_back_all_the_way_ends_at_the_first_version(wanted: list[int]) -> None:
    store, registry = MemoryStore(), filled()
    way = [v for v, before in zip(wanted, [None, *wanted], strict=False) if v != before]
    moved(store, registry, *way)
    for expected in reversed(way[:-1]):
        to, _ = rollback_target(look(store, registry, "table", "champion"))
        assert to == expected
        commit(store, registry, planned(store, registry, to, kind="rollback"))
    with pytest.raises(RequestError):
        rollback_target(look(store, registry, "table", "champion"))


def test_a_version_that_is_gone_from_the_registry_cannot_be_followed(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1)
    record = planned(store, registry, 7)
    append(store, record)
    with pytest.raises(SourceNotFound, match="no version 7"):
        follow(store, registry, "table", "champion")


def test_a_champion_deleted_in_the_registry_can_be_rolled_back_from(
    store: MemoryStore, registry: MemoryRegistry
) -> None:
    moved(store, registry, 1, 2)
    # As MLflow does when the champion's version is deleted there: the alias goes with it.
    model = registry._models["table"]
    del model.versions[2], model.about[2], model.aliases["champion"]
    state = look(store, registry, "table", "champion")
    must_agree(state)
    to, _ = rollback_target(state)
    commit(store, registry, planned(store, registry, to, kind="rollback"))
    assert look(store, registry, "table", "champion").pointed == 1
