"""A failed export explains itself, end to end: in the folder, the release and its report."""

from pathlib import Path

import pytest

from slipway.reporting.html import render_report
from slipway.specs import ReleaseSpec, SourceSpec
from slipway.stages.explaining import explain_failure
from slipway.stages.making import export_model, fetch_materials
from slipway.stages.proving import validate_model
from slipway.stages.releasing import describe_provenance
from slipway.stages.verdicts import gather_evidence
from tests.models.diverging import Normalised, Waves, save


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))


def test_the_report_names_the_node_the_module_and_the_mode(tmp_path: Path) -> None:
    path = save(Normalised().train(), tmp_path / "model.pt2")
    spec = ReleaseSpec(name="norm", source=SourceSpec(framework="pytorch", uri=str(path)))
    materials = fetch_materials(spec)
    exported = export_model(spec, materials.source)
    validation = validate_model(spec, "fp32", exported.model, exported.golden)
    explained = explain_failure(spec, materials, exported, validation)
    assert explained.diagnosis is not None
    assert explained.diagnosis.kind == "training-mode"
    assert explained.divergence is not None
    evidence = gather_evidence(spec, exported, [], [explained], [])
    page = render_report(evidence, provenance=describe_provenance(spec, materials, evidence))
    assert "aten.batch_norm in norm (BatchNorm1d)" in page
    assert f"<code>{explained.divergence.node}</code>" in page
    assert "diverges-from-source" in page


def test_a_source_that_cannot_be_traced_leaves_the_verdict_as_it_is(tmp_path: Path) -> None:
    path = save(Waves().eval(), tmp_path / "model.pt2")
    spec = ReleaseSpec(name="waves", source=SourceSpec(framework="pytorch", uri=str(path)))
    materials = fetch_materials(spec)
    exported = export_model(spec, materials.source)
    validation = validate_model(spec, "fp32", exported.model, exported.golden)
    assert validation.divergence is not None
    assert validation.divergence.against == "float64"
    lost = materials.model_copy(update={"source": exported.golden})
    assert explain_failure(spec, lost, exported, validation) == validation
