"""A release from end to end, and what a second one of the same makes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.reports import BenchmarkSuite, BundleReport, CacheReport, RegisteredVersion
from tests.flows.running import Ran, run
from tests.tiny_release import tiny_spec

pytestmark = [
    pytest.mark.usefixtures("prefect_client"),
    # MLflow 3.17 warns of its own classes when mlflow.pyfunc is first imported.
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]

PRECISIONS = ("fp32", "fp16", "int8-dynamic", "int8-static")


def bundle_of(ran: Ran) -> BundleReport:
    assert ran.report.bundle is not None
    return ran.report.bundle


def version_of(ran: Ran) -> RegisteredVersion:
    assert ran.report.registered is not None
    return ran.report.registered


def test_a_release_passes_and_says_so(first: Ran) -> None:
    report = first.report
    assert first.state.is_completed()
    assert report.passed
    assert {v.precision: v.status for v in report.evidence.variants} == dict.fromkeys(
        PRECISIONS, "passed"
    )
    assert set(report.evidence.selected) == {"cpu"}
    assert report.cache == CacheReport(hits=0, misses=12)


def test_its_bundle_is_as_it_was_sealed_and_holds_every_variant(first: Ran) -> None:
    bundle = bundle_of(first)
    folder = Path(bundle.path)
    assert verify_bundle(folder, digest=bundle.digest).passed
    models = {path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")}
    assert models == {f"variants/{precision}/model.onnx" for precision in PRECISIONS}
    assert (folder / "assets/labels.json").read_text(encoding="utf-8") == '["value"]'
    (suite,) = first.report.evidence.suites
    kept = (folder / "evidence/benchmark-cpu.json").read_text(encoding="utf-8")
    assert BenchmarkSuite.model_validate_json(kept) == suite
    assert "</html>" in Path(bundle.report).read_text(encoding="utf-8")


def test_no_path_of_this_machine_is_in_the_bundle(first: Ran, tiny_files: Path) -> None:
    folder = Path(bundle_of(first).path)
    home = folder.parents[2]
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert str(tiny_files).encode() not in content, path
        assert str(home).encode() not in content, path


def test_the_alias_points_at_a_model_that_mlflow_serves(
    home: Path, first: Ran, tiny_files: Path
) -> None:
    import mlflow.pyfunc

    version = version_of(first)
    assert (version.name, version.version, version.alias) == ("tiny", 1, "challenger")
    assert version.created
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{home}/mlflow.db")
    try:
        served = mlflow.pyfunc.load_model("models:/tiny@challenger")
    finally:
        mlflow.set_tracking_uri(before)
    with np.load(tiny_files / "eval.npz") as recorded:
        answers = served.predict({"x": recorded["x"]})["y"]
        np.testing.assert_allclose(answers, recorded["label"], atol=0.2)


def test_the_same_again_takes_all_from_the_cache_and_makes_no_version(
    home: Path, tiny_files: Path, first: Ran
) -> None:
    again = run(tiny_spec(tiny_files))
    assert again.report.cache == CacheReport(hits=12, misses=0)
    assert bundle_of(again).digest == bundle_of(first).digest
    assert bundle_of(again).path != bundle_of(first).path
    assert (version_of(again).version, version_of(again).created) == (1, False)
    assert len(open_registry(f"sqlite:///{home}/mlflow.db").versions("tiny")) == 1


def test_every_run_has_a_name_that_says_what_it_did(first: Ran) -> None:
    runs = first.task_runs(15)
    assert {run.name for run in runs} == {
        "fetch tiny",
        "export tiny from pytorch",
        *(f"convert tiny to {precision}" for precision in PRECISIONS),
        *(f"validate tiny {precision}" for precision in PRECISIONS),
        "benchmark tiny on cpu",
        "bundle tiny",
        "self-test tiny",
        "unpack tiny",
        "register tiny",
    }
    assert all(run.state is not None and run.state.is_completed() for run in runs)


def test_it_leaves_a_table_a_summary_and_a_link_in_the_ui(first: Ran) -> None:
    kinds = {artifact.key: artifact for artifact in first.artifacts() if artifact.key}
    assert {key: artifact.type for key, artifact in kinds.items()} == {
        "variants-tiny": "table",
        "release-tiny": "markdown",
        "registry-tiny": "markdown",  # Prefect keeps a link as markdown
        "benchmark-tiny-cpu": "table",
    }
    summary = str(kinds["release-tiny"].data)
    assert "tiny" in summary
    for precision in PRECISIONS:
        assert precision in str(kinds["variants-tiny"].data)
        assert precision in summary
    assert "tiny version 1" in str(kinds["registry-tiny"].data)
    assert "tiny version 1 in MLflow" in summary
    assert "CPU seconds in" in summary


def test_the_version_in_mlflow_names_its_numbers_data_and_plots_and_leads_back_here(
    home: Path, first: Ran
) -> None:
    import mlflow

    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("tiny", "challenger")
    assert f"/runs/flow-run/{first.flow_run_id}" in str(version.description)
    run: Any = client.get_run(str(version.run_id))  # MLflow's entities are vague about None
    assert {data.dataset.name for data in run.inputs.dataset_inputs} >= {
        "source",
        "golden",
        "calibration",
        "evaluation",
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "evidence.json", "benchmark-cpu.json", "plots"} <= files
    shipped = {v.precision for v in first.report.evidence.variants if v.model is not None}
    models: list[Any] = [
        client.get_logged_model(found.model_id) for found in run.outputs.model_outputs
    ]
    assert {model.name for model in models} == shipped
    for model in models:
        assert {"rmse", "size_bytes", "cpu/p50_ms"} <= {metric.key for metric in model.metrics}
