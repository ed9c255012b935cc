"""Promotion from development to production, with MLflow for real: SQLite files, and a server."""

from pathlib import Path
from shutil import rmtree

import pytest

from slipway.packaging.verify import verify_bundle
from slipway.promotion.log import read_log
from slipway.promotion.records import PromotionReport
from slipway.registries import open_registry
from slipway.settings import Settings
from slipway.specs import PromotionRequest, RollbackRequest
from slipway.stages.promoting import move, plan_rollback, roll_back, weigh
from slipway.stages.pulling import pull
from slipway.stores import open_store
from tests.mlflow_server import mlflow_server
from tests.promotion_cases import evidence, release

__all__ = ["mlflow_server"]
mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed")
pytestmark = [
    pytest.mark.timeout(300),
    # MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


def promote(version: int, name: str = "table", **rest: object) -> PromotionReport:
    values = {"name": name, "version": version, "by": "anna", **rest}
    return move(weigh(PromotionRequest.model_validate(values)))


def downloaded(registry: str, address: str, folder: Path) -> Path:
    """What a reader of MLflow gets."""
    folder.mkdir()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(registry)
    try:
        return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))
    finally:
        mlflow.set_tracking_uri(before)


def test_a_version_goes_from_one_database_to_another_and_is_used_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "dev"))
    settings = Settings()
    store, registry = open_store(settings.store_uri), open_registry(settings.registry_uri)
    release(store, registry, tmp_path / "1")
    second = release(store, registry, tmp_path / "2", evidence(metric=0.991))
    promote(2)
    there = {
        "name": "prod.table",
        "registry": f"sqlite:///{tmp_path}/prod/mlflow.db",
        "store": str(tmp_path / "prod" / "store"),
    }
    before = registry.about("table", 2)
    report = promote(2, to=there)
    assert (report.moved, report.to_version) == (True, 1)
    assert promote(2, to=there).record is None
    assert promote(1, to=there).to_version == 2
    assert registry.about("table", 2) == before
    assert registry.versions("prod.table") == ()
    (tmp_path / "dev").rename(tmp_path / "gone")

    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "prod"))
    back = RollbackRequest(name="prod.table", by="boris")
    assert roll_back(plan_rollback(back)).to_version == 1
    prod = open_registry(there["registry"])
    champion = prod.resolve("prod.table", "champion")
    assert champion.bundle_digest == second.bundle_digest
    assert prod.about("prod.table", 1).tags["framework"] == "onnx"
    assert "a copy of version 2 of table in sqlite" in prod.about("prod.table", 1).description
    (first, *_) = read_log(open_store(there["store"]), "prod.table", "champion")
    assert first.copied_from is not None
    assert first.copied_from.record is not None
    assert first.copied_from.record.alias == "champion"

    assert pull("prod.table@champion", tmp_path / "pulled").digest == second.bundle_digest
    served = downloaded(there["registry"], "models:/prod.table@champion", tmp_path / "mlflow")
    assert verify_bundle(served, digest=second.bundle_digest).passed


def test_on_one_server_the_copy_has_a_run_of_its_own_that_names_the_first(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_REGISTRY", mlflow_server)
    registry = open_registry(mlflow_server)
    made = release(open_store(Settings().store_uri), registry, tmp_path / "1")
    report = promote(1, to={"name": "prod.table"})
    assert report.url == f"{mlflow_server}/#/models/prod.table/versions/1"
    client = mlflow.MlflowClient(mlflow_server, mlflow_server)
    source, copy = (client.get_model_version(name, "1") for name in ("table", "prod.table"))
    assert copy.run_id != source.run_id
    assert client.get_run(copy.run_id).data.tags["source_run_id"] == source.run_id
    client.delete_model_version("table", "1")
    client.delete_run(source.run_id)
    served = downloaded(mlflow_server, "models:/prod.table@champion", tmp_path / "mlflow")
    assert verify_bundle(served, digest=made.bundle_digest).passed
    assert "(#/models/table/versions/1)" in copy.description


def test_on_another_server_it_is_whole_after_the_first_is_gone(
    mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "dev"))
    settings = Settings()
    store, registry = open_store(settings.store_uri), open_registry(settings.registry_uri)
    made = release(store, registry, tmp_path / "1")
    to = {"registry": mlflow_server, "store": str(tmp_path / "prod")}
    report = promote(1, to={**to, "name": "elsewhere"})
    assert (report.moved, report.to_version) == (True, 1)
    rmtree(tmp_path / "dev")
    served = downloaded(mlflow_server, "models:/elsewhere@champion", tmp_path / "mlflow")
    assert verify_bundle(served, digest=made.bundle_digest).passed
    client = mlflow.MlflowClient(mlflow_server, mlflow_server)
    copy = client.get_model_version("elsewhere", "1")
    assert "source_run_id" not in client.get_run(copy.run_id).data.tags
    assert copy.tags["copied_from"].startswith("models:/table/1 in sqlite:///")
