"""What every registry must do. A registry's test inherits this and says how to make one."""

import threading
import time
from pathlib import Path

import pytest

from slipway.artifacts import digest_bytes
from slipway.errors import RequestError, SourceNotFound
from slipway.packaging.bundle import build_bundle
from slipway.packaging.manifest import read_manifest
from slipway.protocols import Measurement, Registration, Registry, VariantRecord
from slipway.reports import SeriesPoint
from tests.sample_bundles import make_content

OTHER = digest_bytes(b"another bundle")
NUMBERS = {
    variant: tuple(
        Measurement(name="cpu/p50_ms", value=milliseconds * batch, step=batch) for batch in (1, 8)
    )
    for variant, milliseconds in (("fp32", 3.0), ("int8-static", 1.5))
}


class RegistryContract:
    """Inherit, define the fixture `registry`, and the registry is tested."""

    @pytest.fixture(scope="class")
    @classmethod
    def bundle(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        build_bundle(folder / "bundle", content=make_content(folder / "content"))
        return folder / "bundle"

    @pytest.fixture
    def registration(self, bundle: Path) -> Registration:
        return registration_of(bundle)

    def test_a_first_registration_is_version_one(
        self, registry: Registry, registration: Registration
    ) -> None:
        version = registry.register(registration)
        assert (version.name, version.version, version.created) == ("table", 1, True)
        assert version.bundle_digest == registration.bundle_digest
        assert version.alias == "challenger"
        assert registry.resolve("table", "challenger").version == 1
        assert registry.find("table", registration.bundle_digest) == version.model_copy(
            update={"created": False}
        )

    def test_names_are_those_of_what_was_registered(
        self, registry: Registry, registration: Registration
    ) -> None:
        assert registry.names() == ()
        registry.register(registration)
        registry.register(registration.model_copy(update={"name": "another"}))
        assert registry.names() == ("another", "table")

    def test_a_series_gives_its_points_back_oldest_first(self, registry: Registry) -> None:
        assert registry.recorded("table", "regression") == ()
        later = SeriesPoint(at_s=2000.5, measures={"fp32/accuracy": 0.75, "regressions": 1.0})
        earlier = SeriesPoint(at_s=1000.25, measures={"fp32/accuracy": 0.5})
        for point in (later, earlier):
            registry.record("table", "regression", point)
        registry.record("table", "other", SeriesPoint(at_s=1.0, measures={"x": 1.0}))
        assert registry.recorded("table", "regression") == (earlier, later)
        assert registry.recorded("unknown", "regression") == ()
        assert registry.names() == ()

    def test_registering_again_finds_the_version(
        self, registry: Registry, registration: Registration
    ) -> None:
        first = registry.register(registration)
        again = registry.register(registration)
        assert again == first.model_copy(update={"created": False})
        assert [version.version for version in registry.versions("table")] == [1]

    def test_all_aliases_are_told(self, registry: Registry, registration: Registration) -> None:
        assert registry.aliases("table") == {}
        registry.register(registration)
        registry.set_alias("table", "champion", 1)
        assert registry.aliases("table") == {"challenger": 1, "champion": 1}

    def test_a_version_tells_its_age_tags_and_description(
        self, registry: Registry, registration: Registration
    ) -> None:
        before = time.time()
        described = {"tags": {"framework": "onnx"}, "description": "good"}
        registry.register(registration.model_copy(update=described))
        about = registry.about("table", 1)
        assert before - 1 < about.registered_s < time.time() + 1
        assert about.tags["framework"] == "onnx"
        assert about.description.splitlines()[0] == "good"

    def test_annotations_are_added_to_what_is_there(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration.model_copy(update={"description": "good"}))
        registry.annotate("table", 1, tags={"promotion.champion": "#1"})
        registry.annotate("table", 1, tags={"promotion.other": "#2"}, description="better")
        about = registry.about("table", 1)
        assert about.tags["promotion.champion"] == "#1"
        assert about.tags["promotion.other"] == "#2"
        assert about.description == "better"
        assert registry.find("table", registration.bundle_digest) is not None

    def test_nothing_is_known_of_a_version_that_is_not_there(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        with pytest.raises(SourceNotFound):
            registry.about("table", 2)
        with pytest.raises(SourceNotFound):
            registry.annotate("table", 2, tags={"a": "b"})

    def test_another_bundle_is_the_next_version_and_takes_the_alias(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        other = registry.register(registration.model_copy(update={"bundle_digest": OTHER}))
        assert (other.version, other.created, other.alias) == (2, True, "challenger")
        assert [v.version for v in registry.versions("table")] == [1, 2]
        assert [v.alias for v in registry.versions("table")] == [None, "challenger"]
        assert registry.resolve("table", "challenger").bundle_digest == OTHER

    def test_registering_an_older_bundle_moves_the_alias_back(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        registry.register(registration.model_copy(update={"bundle_digest": OTHER}))
        back = registry.register(registration)
        assert (back.version, back.created, back.alias) == (1, False, "challenger")
        assert registry.resolve("table", "challenger").version == 1

    def test_a_registration_may_have_no_alias(
        self, registry: Registry, registration: Registration
    ) -> None:
        version = registry.register(registration.model_copy(update={"alias": None}))
        assert version.alias is None
        with pytest.raises(SourceNotFound, match="challenger"):
            registry.resolve("table", "challenger")

    def test_one_bundle_may_have_two_names(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        other = registry.register(registration.model_copy(update={"name": "prod.table"}))
        assert (other.name, other.version, other.created) == ("prod.table", 1, True)

    def test_an_unknown_name_has_no_versions(self, registry: Registry) -> None:
        assert registry.versions("nobody") == ()
        assert registry.find("nobody", OTHER) is None

    def test_an_unknown_digest_is_not_found(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        assert registry.find("table", OTHER) is None

    def test_an_unknown_alias_is_not_found_and_the_known_are_named(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        with pytest.raises(SourceNotFound, match="challenger"):
            registry.resolve("table", "champion")
        with pytest.raises(SourceNotFound, match="nobody"):
            registry.resolve("nobody", "champion")

    def test_an_alias_can_be_pointed_at_any_version(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        registry.register(registration.model_copy(update={"bundle_digest": OTHER}))
        registry.set_alias("table", "champion", 1)
        registry.set_alias("table", "champion", 1)
        assert registry.resolve("table", "champion").version == 1
        assert registry.resolve("table", "champion").alias == "champion"
        registry.set_alias("table", "champion", 2)
        assert registry.resolve("table", "champion").version == 2

    def test_an_alias_cannot_be_pointed_at_nothing(
        self, registry: Registry, registration: Registration
    ) -> None:
        registry.register(registration)
        with pytest.raises(SourceNotFound):
            registry.set_alias("table", "champion", 7)
        with pytest.raises(SourceNotFound):
            registry.set_alias("nobody", "champion", 1)

    @pytest.mark.parametrize("name", ["a/b", "a:b", "", "a'b", "..", ".hidden", "x" * 121])
    def test_a_name_that_cannot_be_held_is_refused(
        self, registry: Registry, registration: Registration, name: str
    ) -> None:
        with pytest.raises(RequestError, match="cannot be a registered model's name"):
            registry.register(registration.model_copy(update={"name": name}))
        with pytest.raises(RequestError):
            registry.versions(name)

    @pytest.mark.parametrize("alias", ["latest", "v1", "V20", "a.b", "a b", "a/b"])
    def test_an_alias_that_cannot_be_held_is_refused_before_anything_is_made(
        self, registry: Registry, registration: Registration, alias: str
    ) -> None:
        with pytest.raises(RequestError, match="alias"):
            registry.register(registration.model_copy(update={"alias": alias}))
        assert registry.versions("table") == ()

    def test_threads_that_register_one_bundle_make_one_version(
        self, registry: Registry, registration: Registration
    ) -> None:
        barrier, versions = threading.Barrier(4), []

        def register() -> None:
            barrier.wait()
            versions.append(registry.register(registration))

        threads = [threading.Thread(target=register) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(versions) == 4
        assert len({version.version for version in versions}) == 1
        assert len(registry.versions("table")) == 1
        assert [version.created for version in versions].count(True) == 1


def registration_of(bundle: Path) -> Registration:
    return Registration(
        name="table",
        bundle=bundle,
        bundle_digest=read_manifest(bundle).digest,
        bundle_uri=f"file://{bundle}",
        alias="challenger",
        description="# table\n\nBest on cpu: int8-static",
        tags={"gate": "passed"},
        params={"opset": "18"},
        metrics=tuple(
            Measurement(name=f"{variant}/{found.name}", value=found.value, step=found.step)
            for variant, numbers in NUMBERS.items()
            for found in numbers
        ),
        variants=tuple(
            VariantRecord(name=variant, params={"status": "passed"}, metrics=numbers)
            for variant, numbers in NUMBERS.items()
        ),
        datasets={"calibration": digest_bytes(b"calibration")},
        evidence=(bundle / "evidence" / "report.html",),
        plots={"size.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>"},
    )
