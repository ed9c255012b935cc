"""What a failure is: a variant left out, a failed release with a report, or a clear error."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.errors import ChildCrashed, DataError, RegistryUnavailable, SourceNotFound
from slipway.registries import open_registry
from slipway.samples.arrays import Array
from slipway.settings import Settings
from slipway.stores import open_store
from tasks.stages import register_release
from tests.flows.running import changed, run
from tests.mlflow_server import RefusingFirst, mlflow_server
from tests.prefect_server import free_port

__all__ = ["mlflow_server"]

pytestmark = pytest.mark.usefixtures("prefect_client")

BUDGET = 0.001
"""Less than the error of any INT8 of the tiny network, whatever is kept in float."""


@pytest.mark.usefixtures("home")
def test_a_variant_over_its_budget_is_left_out_with_its_reason_where_that_is_allowed(
    tiny: dict[str, Any],
) -> None:
    precisions = {
        "int8-static": {"samples": 32, "required": False},
        "int8-dynamic": {"required": False},
    }
    ran = run(changed(tiny, budget={"metric_drop": BUDGET}, precisions=precisions))
    assert ran.state.is_completed()
    left_out = ran.variant("int8-static")
    assert left_out.status == "failed"
    assert left_out.reason is not None
    assert "rmse" in left_out.reason
    assert "0.001" in left_out.reason
    assert ran.report.bundle is not None
    variants = {path.name for path in (Path(ran.report.bundle.path) / "variants").iterdir()}
    assert variants == {"fp32", "fp16"}
    assert "int8-static" not in ran.report.evidence.selected.values()
    assert ran.report.registered is not None
    assert ran.report.registered.version == 2, "another bundle is another version"


@pytest.mark.parametrize(
    ("asked", "message"),
    [({}, "no quantized variant is within the budget (int8-dynamic: "),
     ({"required": True}, "required variant int8-static failed")],
)  # fmt: skip
def test_a_budget_that_cannot_be_met_fails_the_release_with_what_comes_nearest(
    asked: dict[str, bool], message: str, home: Path, tiny: dict[str, Any]
) -> None:
    before = set(home.glob("bundles/sha256/*"))
    precisions = {"int8-static": {"samples": 32, **asked}}
    ran = run(changed(tiny, budget={"metric_drop": BUDGET}, precisions=precisions))
    assert ran.state.is_failed()
    assert ran.state.name == "Failed"
    assert message in str(ran.state.message)
    nearest = ran.report.evidence.nearest
    assert {point.precision for point in nearest} == {"int8-static", "int8-dynamic"}
    assert [point.loss for point in nearest] == sorted(point.loss or 0 for point in nearest)
    assert ran.report.bundle is None
    assert ran.report.registered is None
    assert set(home.glob("bundles/sha256/*")) == before
    assert len(open_registry(Settings().registry_uri).versions("tiny")) == 1
    page = Path(ran.report.report)
    assert page.parent == home / "reports"
    assert "int8-static" in page.read_text(encoding="utf-8")
    assert {artifact.key for artifact in ran.artifacts()} == {
        "variants-tiny",
        "release-tiny",
        "benchmark-tiny-cpu",
    }
    assert not list((home / "reports").glob(".*"))


@pytest.mark.usefixtures("home")
def test_nothing_is_made_of_an_export_that_is_wrong(tiny: dict[str, Any]) -> None:
    # No float32 graph repeats torch's sums to the last bit over every case.
    ran = run(changed(tiny, parity={"fp32": {"rtol": 0.0, "atol": 0.0}}))
    assert ran.state.is_failed()
    assert [v.status for v in ran.report.evidence.variants] == ["failed", *["skipped"] * 3]
    assert ran.report.bundle is None


CRASHING = """
import ctypes

def build():
    ctypes.string_at(0)
"""


def test_a_factory_that_brings_its_process_down_fails_the_release_and_nothing_more(
    empty_home: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "factory.py").write_text(CRASHING, encoding="utf-8")
    source = {
        "uri": str(tmp_path / "files" / "weights.safetensors"),
        "factory": f"{tmp_path / 'factory.py'}:build",
    }
    ran = run(changed(tiny, source=source))
    assert ran.state.is_failed()
    assert isinstance(ran.found, ChildCrashed)
    assert "the export of weights.safetensors crashed (SIGSEGV)" in str(ran.found)
    assert not (empty_home / "bundles").exists()
    assert not (empty_home / "mlflow.db").exists()
    assert not list((empty_home / "results").glob("sha256-*")), "a failure must not be cached"
    page = Path(str(ran.found.report))
    assert page.parent == empty_home / "reports"
    assert "The process that exported the model died." in page.read_text(encoding="utf-8")
    told = {artifact.key: str(artifact.data) for artifact in ran.artifacts() if artifact.key}
    assert told.keys() == {"release-tiny"}
    assert "SIGSEGV" in told["release-tiny"]


def test_a_missing_file_is_named_with_its_entry(
    empty_home: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "files" / "cal.npz").unlink()
    ran = run(tiny)
    assert isinstance(ran.found, SourceNotFound)
    assert str(ran.found) == f"data.calibration: there is no file at {tmp_path}/files/cal.npz"
    assert [run.name for run in ran.task_runs(1)] == ["fetch tiny"]
    assert not (empty_home / "bundles").exists()


GOOD = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GOOD[:, :5]}, "calibration data: x has shape [50, 5], the model takes [batch, 6]"),
        ({"z": GOOD}, "calibration data: no array named 'x'; there are z"),
        ({"x": GOOD.astype(str)}, "calibration data: x holds <U"),
        ({"x": np.where(GOOD > 2, np.nan, GOOD)}, "calibration data: x holds 6 values that are"),
        ({"x": GOOD[:0]}, "holds no samples"),
    ],
)
def test_unusable_calibration_data_fails_the_release_by_its_name(
    tiny: dict[str, Any], tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    np.savez(tmp_path / "files" / "cal.npz", **arrays)  # type: ignore[arg-type]
    ran = run(tiny)
    assert isinstance(ran.found, DataError)
    assert ran.found.exit_code == 2
    assert message in str(ran.found)


@pytest.mark.slow
def test_a_registry_that_comes_back_gets_its_version(
    home: Path, tiny: dict[str, Any], mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with RefusingFirst(mlflow_server, connections=2) as address:
        monkeypatch.setenv("SLIPWAY_REGISTRY", address)
        ran = run(tiny)
    assert ran.report.registered is not None
    assert (ran.report.registered.version, ran.report.registered.alias) == (1, "challenger")
    tries = {run.name: run.run_count for run in ran.task_runs(15)}
    assert tries.pop("register tiny") == 3
    assert set(tries.values()) <= {0, 1}
    assert len(open_registry(mlflow_server).versions("tiny")) == 1
    assert home.exists()


@pytest.mark.usefixtures("home")
def test_a_registry_that_stays_away_fails_the_release_and_keeps_the_bundle(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(register_release, "retry_delay_seconds", [0.01])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("SLIPWAY_REGISTRY", f"http://127.0.0.1:{free_port()}")
    ran = run(tiny)
    assert ran.state.is_failed()
    assert isinstance(ran.found, RegistryUnavailable)
    assert next(r.run_count for r in ran.task_runs(15) if r.name == "register tiny") == 4
    records = [json.loads(p.read_bytes()) for p in Settings().results.iterdir()]
    assert records
    assert list(open_store(Settings().store_uri).digests())
