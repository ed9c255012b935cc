"""What a release decides of its variants: which is selected, and what is on its frontiers."""

from slipway.artifacts import ArtifactRef
from slipway.reports import BenchmarkConditions, BenchmarkSuite, ExportReport
from slipway.specs import ReleaseSpec
from slipway.stages.verdicts import gather_evidence
from tests.unit.benchmarking.test_frontier import row, variant

SPEC = ReleaseSpec.from_mapping(
    {
        "name": "net",
        "source": {"framework": "onnx", "uri": "net.onnx"},
        "data": {"calibration": "calibration.npz"},
        "precisions": {"int8-dynamic": {}, "int8-static": {}},
    }
)
REF = ArtifactRef(uri="net", digest="sha256:" + "1" * 64, size_bytes=1)
EXPORT = ExportReport(
    model=REF, golden=REF, framework="onnx", route="onnx", opset=18, inputs=(), outputs=(),
    golden_batch_sizes=(1,), tools={},
)  # fmt: skip
CONDITIONS = BenchmarkConditions(
    host="h", cpu="c", cores=1, intra_op_threads=1, onnxruntime="1", confidence=0.95,
    load_average=0.0, steal_percent=None,
)  # fmt: skip


def selected(static_error: float, *, static_ratio: float, dynamic_ratio: float) -> str:
    variants = [
        variant("fp32"),
        variant("int8-dynamic", error=0.01),
        variant("int8-static", error=static_error),
    ]
    rows = (
        row("fp32", None),
        row("int8-dynamic", dynamic_ratio),
        row("int8-static", static_ratio),
    )
    validations = [v.validation for v in variants if v.validation is not None]
    evidence = gather_evidence(
        SPEC,
        EXPORT,
        [v.conversion for v in variants],
        validations,
        [BenchmarkSuite(provider="cpu", conditions=CONDITIONS, rows=rows)],
    )
    assert [frontier.provider for frontier in evidence.frontiers] == ["cpu"]
    assert [point.label for point in evidence.frontiers[0].points] == [
        "fp32",
        "int8-dynamic",
        "int8-static",
    ]
    return evidence.selected["cpu"]


def test_a_static_int8_worse_than_dynamic_on_both_is_not_selected() -> None:
    assert selected(0.02, static_ratio=0.61, dynamic_ratio=0.6) == "int8-dynamic"


def test_a_static_int8_that_is_faster_or_more_accurate_may_be() -> None:
    assert selected(0.02, static_ratio=0.5, dynamic_ratio=0.6) == "int8-static"


def test_without_benchmarks_there_is_one_frontier_of_accuracy_and_size() -> None:
    only = variant("fp32")
    assert only.validation is not None
    evidence = gather_evidence(SPEC, EXPORT, [only.conversion], [only.validation], [])
    assert [frontier.provider for frontier in evidence.frontiers] == [None]
