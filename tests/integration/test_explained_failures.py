"""A failed export explains itself, end to end: in the folder, the release and its report."""

from pathlib import Path

import pytest
import torch
from torch import nn

from slipway.errors import ExportFailed, SlipwayError, UnreadableModel, UnsupportedOperator
from slipway.reporting.html import render_report
from slipway.specs import ReleaseSpec, SourceSpec
from slipway.stages.explaining import explain_failure
from slipway.stages.exporting import export_to_folder
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


class Eigenvalues(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x @ x.mT).real  # type: ignore[no-any-return]


def failure_of(spec: ReleaseSpec, out: Path) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught:
        export_to_folder(spec, out)
    assert not out.exists()
    return caught.value


def test_an_operator_without_onnx_is_named_on_a_page(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(Eigenvalues(), (torch.randn(4, 4),)), path)
    spec = ReleaseSpec(name="eigen", source=SourceSpec(framework="pytorch", uri=str(path)))
    error = failure_of(spec, tmp_path / "out")
    assert isinstance(error, UnsupportedOperator)
    assert error.facts["operator"] == "aten.linalg_eig"
    page = Path(str(error.report)).read_text(encoding="utf-8")
    assert Path(str(error.report)).parent == tmp_path / "home" / "reports"
    for wanted in (
        "The model uses what has no ONNX.",
        "<code>unsupported-operator</code>",
        "<code>aten.linalg_eig</code>",
        f"<dt>At opset</dt><dd><code>{spec.opset}</code>",
        "Write that part of the model with operators that ONNX has.",
        f"torch {torch.__version__}",
    ):
        assert wanted in page


def test_a_dimension_that_the_source_fixes_is_told_as_that(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 2).eval(), (torch.randn(3, 4),)), path)
    spec = ReleaseSpec.model_validate(
        {
            "name": "fixed",
            "source": {"framework": "pytorch", "uri": str(path)},
            "inputs": {"input": {"shape": ["batch", 4]}},
        }
    )
    error = failure_of(spec, tmp_path / "out")
    assert isinstance(error, ExportFailed)
    page = Path(str(error.report)).read_text(encoding="utf-8")
    assert "<code>frozen-dimension</code>" in page
    assert "<dt>Fixed at</dt><dd><code>3</code>" in page


def test_a_file_that_cannot_be_read_leaves_no_page(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(b"nothing of the kind")
    spec = ReleaseSpec(name="m", source=SourceSpec(framework="pytorch", uri=str(path)))
    error = failure_of(spec, tmp_path / "out")
    assert isinstance(error, UnreadableModel)
    assert error.report is None
    assert not (tmp_path / "home" / "reports").exists()
