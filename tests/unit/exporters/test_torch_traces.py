"""A wrong export of a PyTorch program is held against what the program computes inside."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slipway.exporters import export, trace
from slipway.exporters.pytorch import open_program
from slipway.exporters.torch_places import training_places
from slipway.protocols import ExportRequest, TraceRequest, TraceResult
from slipway.reports import ParityReport
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.explain import ExplainRequest, Explanation, explain
from slipway.validation.parity import check_parity
from tests.models.diverging import Normalised, Waves, save

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


def explained(model: nn.Module, folder: Path) -> tuple[ParityReport, TraceResult, Explanation]:
    """Export, parity, trace, explanation: what the stages do, in this process."""
    path = save(model, folder / "model.pt2")
    asked = ExportRequest(source=SourceSpec(framework="pytorch", uri=str(path)), path=path)
    scratch = folder / "scratch"
    scratch.mkdir()
    made = export(asked, scratch)
    parity = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    case = parity.worst.worst_case
    found = trace(
        TraceRequest(export=asked, route=made.route, golden=made.golden, case=case), scratch
    )
    request = ExplainRequest(
        model=made.model, golden=made.golden, tolerance=Tolerance(), trace=found
    )
    return parity, found, explain(request, scratch)


def test_the_first_value_that_is_not_the_sources_is_named_with_its_module(tmp_path: Path) -> None:
    parity, found, told = explained(Waves().eval(), tmp_path)
    assert not parity.passed
    assert {"linear", "mul", "sin"} <= {
        step.tensor.rpartition("_")[0] or step.tensor for step in found.steps
    }
    assert told.divergence is not None
    assert told.divergence.against == "source"
    assert told.divergence.operator == "Sin"
    assert told.divergence.agreeing >= 2
    assert str(told.divergence.source_place).startswith("aten.sin in wave (Wave), diverging")
    assert told.diagnosis is None


def test_batch_normalisation_left_in_training_mode_is_named(tmp_path: Path) -> None:
    parity, found, told = explained(Normalised().train(), tmp_path)
    assert not parity.passed
    assert found.unstable is None
    assert found.batch_dependent == "output"
    assert told.diagnosis is not None
    assert told.diagnosis.kind == "training-mode"
    assert "aten.batch_norm in norm (BatchNorm1d)" in told.diagnosis.sentence
    assert "call model.eval()" in told.diagnosis.sentence


def test_a_right_export_departs_nowhere(tmp_path: Path) -> None:
    parity, found, told = explained(Normalised().eval(), tmp_path)
    assert parity.passed
    assert found.training == ()
    assert found.unstable is None
    assert found.batch_dependent is None
    assert told == Explanation()


def test_recording_moves_no_statistics_of_a_program_in_training_mode(tmp_path: Path) -> None:
    path = save(Normalised().train(), tmp_path / "model.pt2")
    asked = ExportRequest(source=SourceSpec(framework="pytorch", uri=str(path)), path=path)
    program = open_program(asked)
    before = {name: value.clone() for name, value in program.program.state_dict.items()}
    for rows in (1, 3):
        program.run({"x": np.ones((rows, 64), np.float32)})
    for name, value in program.program.state_dict.items():
        assert torch.equal(value, before[name]), name


def test_a_program_in_training_mode_is_exported_with_a_warning(tmp_path: Path) -> None:
    path = save(Normalised().train(), tmp_path / "model.pt2")
    asked = ExportRequest(source=SourceSpec(framework="pytorch", uri=str(path)), path=path)
    found = export(asked, tmp_path).findings
    assert [(finding.level, finding.code) for finding in found] == [("warning", "training-mode")]
    assert "aten.batch_norm in norm" in str(found[0].place)


def test_dropout_left_in_training_mode_is_found_in_the_program() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).train()
    program = torch.export.export(model, (torch.randn(2, 4),))
    assert [place.partition(",")[0] for place in training_places(program.graph)] == [
        "aten.dropout in 1 (Dropout)"
    ]
    assert training_places(torch.export.export(model.eval(), (torch.randn(2, 4),)).graph) == []
