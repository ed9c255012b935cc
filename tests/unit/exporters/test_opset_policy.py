"""An operator that the opset lacks is named, with the opset that has it, which may be taken."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.impute import KNNImputer
from sklearn.preprocessing import QuantileTransformer
from skops import io as skops_io
from torch import nn

from slipway.errors import UnsupportedOperator
from slipway.exporters import export
from slipway.exporters.opset_policy import needed_opset
from slipway.protocols import ExportRequest, ExportResult
from slipway.samples.golden import GoldenSet
from slipway.specs import MAX_OPSET, ReleaseSpec, SourceSpec, Tolerance
from slipway.validation.parity import check_parity

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


def export_sklearn(estimator: Any, folder: Path, *, opset: int, max_opset: int) -> ExportResult:
    estimator.fit(np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32))
    path = folder / "model.skops"
    skops_io.dump(estimator, path)
    source = SourceSpec(framework="sklearn", uri=str(path))
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return export(
        ExportRequest(source=source, path=path, opset=opset, max_opset=max_opset), scratch
    )


def test_a_later_opset_is_taken_where_allowed_and_told_with_its_reason(tmp_path: Path) -> None:
    made = export_sklearn(
        QuantileTransformer(n_quantiles=5), tmp_path, opset=11, max_opset=MAX_OPSET
    )
    assert made.opset > 11
    finding = made.findings[-1]
    assert finding.code == "opset-raised"
    assert f"opset {made.opset} was taken in place of 11" in finding.message
    assert "Unsqueeze" in finding.message  # took no axes as an input before opset 13
    golden = GoldenSet.load(made.golden)
    assert check_parity(made.model, golden, tolerance=Tolerance(rtol=1e-3, atol=1e-4)).passed


def test_beyond_what_is_allowed_the_refusal_names_the_opset(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match="the spec allows opset 16: set max_opset: 18"):
        export_sklearn(KNNImputer(n_neighbors=2), tmp_path, opset=13, max_opset=16)


class Decomposed(nn.Module):
    """Uses an operator that no opset of ONNX has."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)  # type: ignore[no-any-return]


def test_an_operator_that_no_opset_has_is_named_with_its_place(tmp_path: Path) -> None:
    program = torch.export.export(Decomposed(), (torch.randn(4, 3),))
    path = tmp_path / "model.pt2"
    torch.export.save(program, path)
    source = SourceSpec(framework="pytorch", uri=str(path))
    with pytest.raises(UnsupportedOperator) as refused:
        export(ExportRequest(source=source, path=path, max_opset=20), tmp_path)
    assert "unsupported operator aten._linalg_svd" in str(refused.value)
    assert "test_opset_policy.py:" in str(refused.value)
    assert "nor is it exported at opset 20" in str(refused.value)


@pytest.mark.parametrize(
    ("message", "opset", "needed"),
    [
        ("Operator 'OnnxGreaterOrEqual': requested version 11 < 16 schema version.", 11, 16),
        ("opset 15 was asked for and torch.onnx dynamo wrote opset 18", 15, 18),
        ("no ONNX for Gelu", 18, 20),
        ("no ONNX for Gelu", 20, None),
        ("a Relu has 3 < 2 dimensions", 18, None),
        ("anything else", 18, None),
    ],
)
def test_what_converters_say_is_understood(message: str, opset: int, needed: int | None) -> None:
    assert needed_opset(message, opset) == needed


def test_a_given_opset_is_kept_and_a_default_may_rise() -> None:
    raw = {"name": "m", "source": {"framework": "pytorch", "uri": "m.pt2"}}
    assert ReleaseSpec.model_validate(raw).highest_opset == MAX_OPSET
    assert ReleaseSpec.model_validate({**raw, "opset": 15}).highest_opset == 15
    assert ReleaseSpec.model_validate({**raw, "opset": 15, "max_opset": 18}).highest_opset == 18
    assert ReleaseSpec.model_validate({**raw, "opset": 15, "max_opset": 13}).highest_opset == 15
