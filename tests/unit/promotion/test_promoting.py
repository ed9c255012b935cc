"""Promotion from request to moved alias, on real bundles in a real store."""

from pathlib import Path

import pytest

from slipway.errors import AliasMoved, IntegrityError, SourceNotFound
from slipway.promotion.records import PromotionReport
from slipway.protocols import Registry, Store
from slipway.registries import open_registry
from slipway.registries.memory import MemoryRegistry
from slipway.settings import Settings
from slipway.specs import PromotionRequest, RollbackRequest
from slipway.stages.histories import history
from slipway.stages.promoting import move, plan_rollback, roll_back, weigh
from slipway.stores import open_store
from slipway.stores.local import LocalStore
from tests.promotion_cases import evidence, release


@pytest.fixture
def places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> tuple[Store, Registry]:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", f"memory://{request.node.nodeid}")
    settings = Settings()
    return open_store(settings.store_uri), open_registry(settings.registry_uri)


@pytest.fixture
def three(places: tuple[Store, Registry], tmp_path: Path) -> tuple[Store, Registry]:
    """Two good versions, and a third whose accuracy is worse."""
    store, registry = places
    release(store, registry, tmp_path / "1")
    release(store, registry, tmp_path / "2", evidence(metric=0.991))
    release(store, registry, tmp_path / "3", evidence(metric=0.9))
    return places


def promote(version: int, **rest: object) -> PromotionReport:
    values = {"name": "table", "version": version, "by": "anna", **rest}
    return move(weigh(PromotionRequest.model_validate(values)))


def rolled_back() -> PromotionReport:
    return roll_back(plan_rollback(RollbackRequest(name="table", by="anna")))


def champion(registry: Registry) -> int | None:
    return registry.aliases("table").get("champion")


def test_a_good_version_becomes_champion(three: tuple[Store, Registry]) -> None:
    _, registry = three
    first, second = promote(1), promote(2, reason="faster")
    assert (first.passed, first.moved, first.from_version) == (True, True, None)
    assert (second.from_version, second.to_version, second.record) == (1, 2, 2)
    assert second.verdict == "table@champion moved from version 1 to version 2"
    assert champion(registry) == 2
    (told,) = history("table").aliases
    assert [(r.from_version, r.to_version, r.by, r.reason) for r in told.records] == [
        (None, 1, "anna", None),
        (1, 2, "anna", "faster"),
    ]


def test_a_failed_rule_blocks_and_says_why(three: tuple[Store, Registry]) -> None:
    _, registry = three
    promote(1)
    report = promote(3)
    assert (report.passed, report.moved) == (False, False)
    assert report.verdict == (
        "version 3 of table may not become champion: metric of int8-static: 0.09 worse"
    )
    assert champion(registry) == 1
    assert len(history("table", alias="champion").aliases[0].records) == 1


def test_an_override_moves_it_and_is_recorded(three: tuple[Store, Registry]) -> None:
    _, registry = three
    promote(1)
    report = promote(3, override="the data was wrong")
    assert (report.passed, report.moved, report.override) == (True, True, "the data was wrong")
    assert champion(registry) == 3
    record = history("table", alias="champion").aliases[0].records[-1]
    assert record.override == "the data was wrong"
    assert record.policy is not None
    assert [rule.rule for rule in record.policy.failures] == ["metric of int8-static"]
    assert "override: the data was wrong" in registry.about("table", 3).description


@pytest.mark.usefixtures("three")
def test_an_override_that_was_not_needed_is_not_recorded() -> None:
    assert promote(1, override="just in case").override is None


@pytest.mark.usefixtures("three")
def test_promoting_the_champion_again_changes_nothing() -> None:
    promote(1)
    again = promote(1)
    assert (again.passed, again.moved) == (True, False)
    assert again.verdict == "table@champion points already at version 1"
    assert len(history("table", alias="champion").aliases[0].records) == 1


@pytest.mark.usefixtures("three")
def test_an_expectation_that_does_not_hold_is_refused() -> None:
    promote(1)
    with pytest.raises(AliasMoved, match="points at version 1, not at version 3; anna moved it"):
        promote(2, expect=3)
    promote(2, expect=1)


@pytest.mark.usefixtures("three")
def test_what_moved_since_it_was_weighed_is_refused() -> None:
    promote(1)
    weighed = weigh(PromotionRequest(name="table", version=2, by="anna"))
    promote(3, override="emergency", by="boris")
    with pytest.raises(AliasMoved, match="boris moved table@champion to version 3"):
        move(weighed)


@pytest.mark.usefixtures("three")
def test_a_version_that_is_not_there_names_those_there_are() -> None:
    with pytest.raises(SourceNotFound, match="there are: 1, 2, 3"):
        promote(9)
    with pytest.raises(SourceNotFound, match="none"):
        move(weigh(PromotionRequest(name="tabel", version=1, by="anna")))


def test_the_policy_sealed_in_the_bundle_is_the_one_that_counts(
    places: tuple[Store, Registry], tmp_path: Path
) -> None:
    release(*places, tmp_path / "1", policy={"slo_p99_ms": {"cpu": 1.0}, "metric_drop": None})
    report = promote(1)
    assert report.policy is not None
    assert [rule.rule for rule in report.policy.failures] == ["p99 on cpu"]
    assert promote(1, policy={"slo_p99_ms": {"cpu": 3.0}}).passed


def test_one_changed_byte_in_the_store_stops_a_promotion(
    three: tuple[Store, Registry],
) -> None:
    store, registry = three
    assert isinstance(store, LocalStore)
    victim = registry.versions("table")[0].bundle_digest
    manifest = store.read_bytes(victim).decode()
    digest = (
        "sha256:" + manifest.split('"path":"golden/golden.npz"')[0].rsplit("sha256:", 1)[1][:64]
    )
    path = store._path(digest)
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(
        IntegrityError, match=r"version 1 of table is not whole: golden/golden\.npz"
    ):
        promote(1, override="whatever")
    assert champion(registry) is None


@pytest.mark.usefixtures("three")
def test_a_bundle_of_another_store_is_not_found_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_STORE", str(tmp_path / "empty"))
    with pytest.raises(SourceNotFound, match="set SLIPWAY_STORE to the store"):
        promote(1)


def test_a_champion_that_no_release_made_must_be_overridden(
    three: tuple[Store, Registry],
) -> None:
    _, registry = three
    assert isinstance(registry, MemoryRegistry)
    registry._models["table"].aliases["champion"] = 77
    report = weigh(PromotionRequest(name="table", version=1, by="anna")).report
    assert {rule.reason for rule in report.failures} == {
        "version 77, where the alias points, is none that a release made"
    }


def test_a_rollback_goes_back_and_is_in_the_history(three: tuple[Store, Registry]) -> None:
    _, registry = three
    promote(1)
    promote(2)
    report = rolled_back()
    assert report.verdict == "table@champion moved back from version 2 to version 1"
    assert champion(registry) == 1
    assert [r.kind for r in history("table", alias="champion").aliases[0].records] == [
        *("promote", "promote", "rollback")
    ]


def test_a_damaged_bundle_is_not_rolled_back_to(three: tuple[Store, Registry]) -> None:
    store, registry = three
    promote(1)
    promote(2)
    store.delete(registry.versions("table")[0].bundle_digest)
    with pytest.raises(SourceNotFound, match="which is not in"):
        rolled_back()
    assert champion(registry) == 2


def test_drift_is_told_and_repaired_on_request(three: tuple[Store, Registry]) -> None:
    _, registry = three
    promote(1)
    registry.set_alias("table", "champion", 3)
    report = history("table")
    assert not report.passed
    assert "the registry's alias points at version 3" in str(report.aliases[0].drift)
    with pytest.raises(AliasMoved, match="--repair"):
        promote(2)
    with pytest.raises(AliasMoved, match="--repair"):
        rolled_back()
    repaired = history("table", repair=True)
    assert repaired.passed
    assert repaired.aliases[0].repaired
    assert champion(registry) == 1
    assert history("table").passed


@pytest.mark.usefixtures("places")
def test_history_of_an_unknown_name_is_not_found() -> None:
    with pytest.raises(SourceNotFound, match="tabel"):
        history("tabel")
