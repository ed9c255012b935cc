"""The modules of torch.nn: none is forgotten, and those that need care come out right."""

from pathlib import Path

import pytest
import torch
from torch import nn

from slipway.errors import ExportFailed
from slipway.exporters import export
from slipway.protocols import ExportResult
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.parity import check_parity
from tests.torch_cases import CASES, EXCLUDED, Case, floats, save

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
    ),
    # Said once a process, by whichever test comes first.
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    # torch.export, of weights that torch's own RNNs keep in a list beside their parameters.
    pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights"),
]


def exported(case: Case, folder: Path) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(save(case, folder), scratch)


def test_every_class_of_torch_nn_is_a_case_or_says_why_not() -> None:
    classes = {
        name
        for name, value in vars(nn).items()
        if isinstance(value, type) and issubclass(value, nn.Module)
    }
    tried = {word for name in CASES for word in name.split()}
    assert sorted(classes - tried - EXCLUDED.keys()) == []
    assert sorted(EXCLUDED.keys() & tried) == []


@pytest.mark.parametrize(
    "name",
    [
        "RReLU",
        "MaxPool2d return_indices=True",
        "BatchNorm2d track_running_stats=False",
        "TransformerEncoder padded",
        "AvgPool2d divisor_override",
        "AdaptiveAvgPool3d to 3",
        "LSTM proj_size",
    ],
)
def test_the_graph_repeats_the_module(name: str, tmp_path: Path) -> None:
    made = exported(CASES[name], tmp_path)
    assert len(set(made.golden_batch_sizes)) > 1
    report = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


def test_slopes_that_are_drawn_in_training_are_refused(tmp_path: Path) -> None:
    class Always(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.rrelu(x, training=True)

    with pytest.raises(ExportFailed, match=r"RReLU in training mode.*model\.eval"):
        exported(Case(Always, floats("batch", 4)), tmp_path)


def test_a_size_that_the_modules_code_computes_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match=r"cannot be dynamic; fix it in the spec's inputs"):
        exported(CASES["CrossMapLRN2d"], tmp_path)
