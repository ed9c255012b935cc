"""A wrong export of a Transformers model is held against what the model computes inside."""

from pathlib import Path

import onnx
import pytest

pytest.importorskip("transformers", reason="transformers is not installed")

from slipway.errors import ExportFailed
from slipway.exporters import export, trace, transformers
from slipway.protocols import ExportRequest, ExportResult, TraceRequest, TraceResult
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.explain import ExplainRequest, Explanation, explain
from slipway.validation.parity import check_parity
from tests.models import transformers as models

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> ExportRequest:
    return models.save(models.classifier(), tmp_path_factory.mktemp("bert"))


def exported(asked: ExportRequest, folder: Path) -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(asked, scratch)


def spoil_the_last_normalisation(path: Path) -> None:
    """Divide by more than the deviation."""
    model = onnx.load(path)
    last = [node for node in model.graph.node if node.op_type == "LayerNormalization"][-1]
    next(item for item in last.attribute if item.name == "epsilon").f = 0.1
    onnx.save(model, path)


def explained(asked: ExportRequest, made: ExportResult) -> tuple[TraceResult, Explanation]:
    """Parity, trace, explanation: what the stages do, in this process."""
    parity = check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance())
    assert not parity.passed
    request = TraceRequest(
        export=asked, route=made.route, golden=made.golden, case=parity.worst.worst_case
    )
    found = trace(request, made.model.parent)
    return found, explain(
        ExplainRequest(model=made.model, golden=made.golden, tolerance=Tolerance(), trace=found),
        made.model.parent,
    )


def test_the_first_value_that_is_not_the_models_is_named_with_its_module(
    asked: ExportRequest, tmp_path: Path
) -> None:
    made = exported(asked, tmp_path)
    assert made.route == "torch.onnx dynamo"
    spoil_the_last_normalisation(made.model)
    found, told = explained(asked, made)
    assert found.matched == "names"
    assert told.diagnosis is None
    assert told.divergence is not None
    assert told.divergence.operator == "LayerNormalization"
    assert told.divergence.agreeing > 10
    assert "in bert.encoder.layer.1.output.LayerNorm (LayerNorm)" in str(
        told.divergence.source_place
    )


def test_a_graph_of_the_tracing_exporter_is_matched_by_the_modules_values(
    asked: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Path:
        raise ExportFailed("no decomposition")

    monkeypatch.setattr(transformers, "ROUTES", {**transformers.ROUTES, transformers.DYNAMO: fails})
    made = exported(asked, tmp_path)
    assert made.route == "torch.onnx legacy"
    spoil_the_last_normalisation(made.model)
    found, told = explained(asked, made)
    assert found.matched == "values"
    assert told.divergence is not None
    assert told.divergence.operator == "LayerNormalization"
    assert told.divergence.source_place == "bert.encoder.layer.1.output.LayerNorm (LayerNorm)"


def test_an_export_carries_the_models_own_noise(asked: ExportRequest, tmp_path: Path) -> None:
    (noise,) = exported(asked, tmp_path).noise
    assert noise.output == "logits"
    assert noise.float64 is not None
    assert 0 < noise.float64 < 1e-4
    assert noise.one_thread is not None
