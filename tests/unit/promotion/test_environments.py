"""Promotion into another environment: the version is copied there, and judged by what is there."""

from pathlib import Path

import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import AliasMoved, IntegrityError, RequestError, SourceNotFound
from slipway.promotion.log import append, read_log
from slipway.promotion.records import PromotionReport, without_password
from slipway.protocols import Registry, Store
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.specs import Destination, PromotionRequest
from slipway.stages.histories import history
from slipway.stages.making import Materials
from slipway.stages.promoting import move, weigh
from slipway.stores import open_store
from slipway.stores.local import LocalStore
from tests.promotion_cases import evidence, release


class Places:
    """The environment of the settings, and production: a registry and a store of its own."""

    def __init__(self, root: Path, name: str) -> None:
        settings = Settings()
        self.store: Store = open_store(settings.store_uri)
        self.registry: Registry = open_registry(settings.registry_uri)
        self.there = {"registry": f"memory://prod of {name}", "store": str(root / "prod")}
        self.prod_store: Store = open_store(self.there["store"])
        self.prod: Registry = open_registry(self.there["registry"])


@pytest.fixture
def places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Places:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", f"memory://{request.node.nodeid}")
    found = Places(tmp_path, request.node.nodeid)
    release(found.store, found.registry, tmp_path / "1")
    release(found.store, found.registry, tmp_path / "2", evidence(metric=0.991))
    return found


def request_of(version: int, **rest: object) -> PromotionRequest:
    values = {"name": "table", "version": version, "by": "anna", **rest}
    return PromotionRequest.model_validate(values)


def promote(version: int, **rest: object) -> PromotionReport:
    return move(weigh(request_of(version, **rest)))


def test_a_version_goes_to_another_registered_model_with_where_it_comes_from(
    places: Places,
) -> None:
    promote(2, reason="the best")
    objects = set(places.store.digests())
    report = promote(2, to={"name": "prod.table"})
    assert report.verdict == (
        "prod.table@champion moved from nowhere to version 1, a copy of version 2 of table"
    )
    copy, source = (
        places.registry.versions(name)[number] for name, number in (("prod.table", 0), ("table", 1))
    )
    assert copy.bundle_digest == source.bundle_digest
    assert set(places.store.digests()) == objects
    about = places.registry.about("prod.table", 1)
    assert about.tags["copied_from"].startswith("models:/table/2 in memory://")
    assert "a copy of [version 2 of table](#/models/table/versions/2)" in about.description
    assert places.registry.aliases("prod.table") == {"champion": 1}
    (record,) = read_log(places.store, "prod.table", "champion")
    assert record.copied_from is not None
    assert (record.copied_from.name, record.copied_from.version) == ("table", 2)
    before = record.copied_from.record
    assert before is not None
    assert (before.reason, before.policy and before.policy.passed) == ("the best", True)
    assert before == read_log(places.store, "table", "champion")[0]
    assert record.policy is not None
    assert record.policy.passed


def test_a_version_goes_to_other_servers_byte_for_byte(places: Places) -> None:
    report = promote(1, to=places.there)
    assert (report.moved, report.to_version) == (True, 1)
    there = set(places.prod_store.digests())
    assert there < set(places.store.digests())
    assert all(places.prod_store.read_bytes(digest) for digest in there)
    assert places.prod.resolve("table", "champion").bundle_digest in there
    assert places.registry.aliases("table") == {}
    assert read_log(places.store, "table", "champion") == ()
    (record,) = read_log(places.prod_store, "table", "champion")
    assert record.copied_from is not None
    assert record.copied_from.registry == places.registry.uri


def test_a_second_promotion_finds_the_copy_and_a_third_changes_nothing(places: Places) -> None:
    promote(1, to=places.there)
    promote(2, to=places.there)
    again = promote(1, to=places.there, reason="two was wrong")
    assert (again.moved, again.to_version, again.record) == (True, 1, 3)
    nothing = promote(1, to=places.there)
    assert (nothing.passed, nothing.moved) == (True, False)
    assert nothing.verdict == (
        "table@champion points already at version 1, a copy of version 1 of table"
    )
    assert [version.version for version in places.prod.versions("table")] == [1, 2]


def test_what_the_policy_refuses_is_not_copied(places: Places, tmp_path: Path) -> None:
    release(places.store, places.registry, tmp_path / "3", evidence(metric=0.9))
    promote(1, to=places.there)
    objects = set(places.prod_store.digests())
    report = promote(3, to=places.there)
    assert (report.passed, report.to_version) == (False, None)
    assert report.verdict == (
        "version 3 of table may not become table@champion: metric of int8-static: 0.09 worse"
    )
    assert set(places.prod_store.digests()) == objects
    assert [version.version for version in places.prod.versions("table")] == [1]


def test_it_is_compared_with_what_the_alias_points_at_there(places: Places, tmp_path: Path) -> None:
    release(places.store, places.registry, tmp_path / "3", evidence(metric=0.9))
    promote(2)  # here the champion is far better
    promote(3, to=places.there)  # and there is none yet
    assert places.prod.aliases("table") == {"champion": 1}
    with pytest.raises(AliasMoved, match="points at version 1, not at version 7"):
        promote(1, to=places.there, expect=7)


def test_the_age_of_the_evidence_is_that_of_the_source(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(1, to=places.there)
    later = places.registry.about("table", 1).registered_s + 40 * 86_400
    monkeypatch.setattr("time.time", lambda: later)
    report = promote(1, to={**places.there, "name": "prod.table"})
    assert report.policy is not None
    assert [rule.rule for rule in report.policy.failures] == ["age"]


def test_three_environments_in_a_row_are_told_by_the_last(places: Places) -> None:
    promote(1, to={"name": "staging.table"})
    move(weigh(request_of(1, name="staging.table", to={"name": "prod.table"})))
    (record,) = read_log(places.store, "prod.table", "champion")
    assert record.copied_from is not None
    assert record.copied_from.name == "staging.table"
    assert record.copied_from.record is not None
    assert record.copied_from.record.copied_from is not None
    assert record.copied_from.record.copied_from.name == "table"


def test_a_process_killed_after_the_copy_is_finished_by_the_next(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("slipway.stages.promoting.commit", die)
        with pytest.raises(KeyboardInterrupt):
            promote(1, to=places.there)
    assert [version.version for version in places.prod.versions("table")] == [1]
    assert places.prod.aliases("table") == {}
    assert promote(1, to=places.there).to_version == 1


def test_a_damaged_byte_stops_it_before_anything_is_there(places: Places) -> None:
    assert isinstance(places.store, LocalStore)
    digest = places.store.read_bytes(places.registry.versions("table")[0].bundle_digest)
    model = digest.decode().split('"path":"golden/golden.npz"')[0].rsplit("sha256:", 1)[1][:64]
    path = places.store._path(f"sha256:{model}")
    path.chmod(0o644)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    with pytest.raises(IntegrityError, match=r"version 1 of table is not whole: golden"):
        promote(1, to=places.there)
    assert list(places.prod_store.digests()) == []
    assert places.prod.versions("table") == ()


def test_what_it_was_made_from_and_its_signatures_go_along(places: Places, tmp_path: Path) -> None:
    source = places.store.put_bytes(b"the trained model", media_type="application/octet-stream")
    gone = source.model_copy(update={"digest": digest_bytes(b"data that was deleted")})
    materials = Materials(source=source, calibration=gone)
    made = release(
        places.store,
        places.registry,
        tmp_path / "3",
        extra={"evidence/materials.json": materials.model_dump_json().encode()},
    )
    places.store.create_record(f"signatures/{made.bundle_digest[7:]}/x.json", b"signed")
    promote(made.version, to=places.there)
    assert places.prod_store.read_bytes(source.digest) == b"the trained model"
    assert places.prod_store.read_record(f"signatures/{made.bundle_digest[7:]}/x.json") == b"signed"


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("to", [{"name": "table"}, {"registry": "memory://other"}])
def test_a_place_whose_log_would_be_the_same_is_refused(to: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="give another name, or another store"):
        promote(1, to=to)


def test_an_environment_that_is_named_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="give the name, the registry or the store"):
        Destination()


@pytest.mark.usefixtures("places")
def test_a_version_that_is_not_here_is_not_copied() -> None:
    with pytest.raises(SourceNotFound, match="there are: 1, 2"):
        promote(9, to={"name": "prod.table"})


@pytest.mark.usefixtures("places")
def test_records_without_a_copy_are_written_as_they_always_were() -> None:
    promote(1)
    (record,) = history("table").aliases[0].records
    assert b"copied_from" not in record.to_json()
    assert b'"run"' not in record.to_json()


def test_a_password_in_an_address_is_not_recorded() -> None:
    assert without_password("https://anna:secret@mlflow:5000/x") == "https://mlflow:5000/x"
    assert without_password("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"


def test_two_who_copy_at_once_make_one_version_and_one_of_them_moves_the_alias(
    places: Places,
) -> None:
    weighed = [weigh(request_of(number, to=places.there)) for number in (1, 2)]
    assert move(weighed[0]).moved
    with pytest.raises(AliasMoved, match="anna moved table@champion to version 1 in the meantime"):
        move(weighed[1])
    log = read_log(places.prod_store, "table", "champion")
    assert len(log) == 1
    assert append(places.prod_store, log[0])
