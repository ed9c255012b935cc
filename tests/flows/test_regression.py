"""Promoted models made again: unchanged, changed within the limits, regressed, and unreadable."""

import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import yaml
from prefect.client.orchestration import get_client

from flows.regression import regression
from slipway.protocols import Registration
from slipway.registries import open_registry
from slipway.reports import NightlyReport, RegressionReport
from slipway.settings import Settings
from slipway.specs import RegressionSpec
from tests.flows.running import Ran, changed
from tests.tiny_release import FEATURES, tiny_spec

pytestmark = [
    pytest.mark.usefixtures("prefect_client", "home"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]
EVENTS_LIMIT_S = 60.0


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_PACKAGE_INDEX", "http://127.0.0.1:9")  # nobody listens there


@pytest.fixture
def promoted(home: Path, first: Ran) -> Registration:  # noqa: ARG001 - the home to promote in
    """The tiny release's version 1, which the alias champion points to."""
    bundle = first.report.bundle
    assert bundle is not None
    open_registry(Settings().registry_uri).set_alias("tiny", "champion", 1)
    return Registration(
        name="tiny",
        bundle=Path(bundle.path),
        bundle_digest=bundle.digest,
        bundle_uri=bundle.ref.uri,
        alias="champion",
    )


def regress(**request: Any) -> tuple[Ran, NightlyReport]:
    ran = Ran(regression(RegressionSpec(advisories="off", **request), return_state=True))
    assert isinstance(ran.found, NightlyReport)
    return ran, ran.found


def spec_file(folder: Path, raw: dict[str, Any]) -> str:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return str(path)


def kinds(report: RegressionReport) -> set[tuple[str, bool]]:
    return {(drift.kind, drift.regressed) for drift in report.drifts}


def test_a_scheduled_run_which_has_no_parameters_looks_at_every_champion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "empty"))
    ran = Ran(regression(return_state=True))
    assert ran.state.is_completed(), ran.state.message
    assert isinstance(ran.found, NightlyReport)
    assert ran.found.models == ()


@pytest.mark.usefixtures("promoted")
def test_unchanged_work_is_served_by_the_cache_and_nothing_drifts() -> None:
    ran, report = regress()
    assert ran.state.is_completed()
    (tiny,) = report.models
    assert (tiny.name, tiny.version, tiny.passed, tiny.drifts) == ("tiny", 1, True, ())
    assert tiny.cache.misses == 0
    assert tiny.cache.hits > 0
    assert tiny.changed_tools == ()
    assert tiny.measures["int8-static/latency_ratio"] == 1.0
    points = open_registry(Settings().registry_uri).recorded("tiny", "regression")
    assert [point.measures for point in points] == [tiny.measures]
    table = next(it for it in ran.artifacts() if it.key == "regression")
    assert '"verdict": "unchanged"' in str(table.data)
    assert report.page is not None
    page = Path(report.page).read_text(encoding="utf-8")
    assert "tiny version 1: unchanged" in page
    assert page.count("<svg") >= len(tiny.measures)


@pytest.mark.usefixtures("promoted")
def test_another_opset_is_noted_and_measured_side_by_side(tiny_files: Path, tmp_path: Path) -> None:
    raw = changed(tiny_spec(tiny_files), opset=19, precisions={"fp16": None, "int8-static": None})
    ran, report = regress(specs=(spec_file(tmp_path, raw),))
    assert ran.state.is_completed(), ran.state.message
    (tiny,) = report.models
    assert ("digest", False) in kinds(tiny)
    assert {suite.provider for suite in tiny.suites} == {"cpu"}
    labels = {row.precision for suite in tiny.suites for row in suite.rows}
    assert labels == {"promoted", "fresh"}
    assert any(name.endswith("cpu/batch_1/latency_ratio") for name in tiny.measures)


def test_a_model_that_gives_other_answers_fails_alone_and_is_announced(
    promoted: Registration, tiny_files: Path, tmp_path: Path
) -> None:
    registry = open_registry(Settings().registry_uri)
    registry.register(promoted.model_copy(update={"name": "another"}))
    files = tmp_path / "files"
    shutil.copytree(tiny_files, files)
    _retrain(files / "model.pt2")
    raw = changed(tiny_spec(files), metric=None, precisions={"fp16": None, "int8-static": None})
    ran, report = regress(specs=(spec_file(tmp_path, raw),), latency=False)
    assert ran.state.is_failed()
    assert "regressed: tiny" in str(ran.state.message)
    another, tiny = report.models
    assert (another.name, another.passed) == ("another", True)
    assert not tiny.passed
    assert ("parity", True) in kinds(tiny)
    assert tiny.cause is not None
    assert "no tool's version changed" in tiny.cause
    event = _event("slipway.model.tiny")
    assert event["payload"]["model"] == "tiny"
    assert event["payload"]["regressions"]


def test_a_model_whose_bundle_is_gone_fails_and_the_others_go_on(promoted: Registration) -> None:
    registry = open_registry(Settings().registry_uri)
    lost = promoted.model_copy(update={"name": "lost", "bundle_digest": "sha256:" + "0" * 64})
    registry.register(lost)
    ran, report = regress()
    assert ran.state.is_failed()
    lost_report, tiny = report.models
    assert kinds(lost_report) == {("error", True)}
    assert "SourceNotFound" in lost_report.drifts[0].sentence
    assert tiny.passed


def test_without_promoted_models_there_is_nothing_to_do() -> None:
    ran, report = regress()
    assert ran.state.is_completed()
    assert report.models == ()


def _retrain(path: Path) -> None:
    """The same architecture with other weights, as a source that somebody replaced."""
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(FEATURES, 4), torch.nn.Linear(4, 1)).eval()
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        network, (torch.zeros(2, FEATURES),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(program, path)


def _event(resource: str) -> dict[str, Any]:
    """The event of a model that regressed, as soon as the server has it."""
    wanted = {
        "filter": {
            "event": {"name": ["slipway.model.regressed"]},
            "resource": {"id": [resource]},
        }
    }
    deadline = time.monotonic() + EVENTS_LIMIT_S
    with get_client(sync_client=True) as client:
        while True:
            answer = client._client.post("/events/filter", json=wanted)
            if answer.status_code == httpx.codes.OK and answer.json()["events"]:
                return dict(answer.json()["events"][0])
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.5)
