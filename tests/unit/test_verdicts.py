"""What a release decides of its variants: which is selected, and what is on its frontiers."""

from slipway.artifacts import ArtifactRef
from slipway.reports import (
    BenchmarkConditions,
    BenchmarkSuite,
    Evidence,
    ExportReport,
    VariantReport,
)
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


def decided(*variants: VariantReport, **required: bool) -> Evidence:
    """The evidence of a release of these variants; `int8_static=False` accepts its absence."""
    asked: dict[str, object] = {"int8-dynamic": {}, "int8-static": {}}
    allowed = {name.replace("_", "-"): {"required": value} for name, value in required.items()}
    spec = ReleaseSpec.from_mapping(
        {**SPEC.model_dump(by_alias=True, mode="json"), "precisions": {**asked, **allowed}}
    )
    validations = [v.validation for v in variants if v.validation is not None]
    return gather_evidence(spec, EXPORT, [v.conversion for v in variants], validations, [])


def test_a_budget_that_no_quantized_variant_meets_fails_the_release() -> None:
    missed = [
        variant("int8-dynamic", error=0.4, passed=False),
        variant("int8-static", error=0.3, passed=False),
    ]
    found = decided(variant("fp32"), *missed)
    assert not found.passed
    (failure,) = found.failures
    assert "int8-static: " in failure
    assert "`required: false`" in failure
    assert [point.label for point in found.nearest] == ["int8-static", "int8-dynamic"]


def test_one_quantized_variant_within_the_budget_is_enough() -> None:
    missed = variant("int8-dynamic", error=0.4, passed=False)
    found = decided(variant("fp32"), missed, variant("int8-static", error=0.01))
    assert found.passed
    assert found.nearest == ()


def test_a_release_without_any_is_accepted_where_the_spec_says_so() -> None:
    missed = variant("int8-static", error=0.3, passed=False)
    allowed = decided(variant("fp32"), missed, int8_static=False, int8_dynamic=False)
    assert allowed.passed
    assert [point.label for point in allowed.nearest] == ["int8-static"]
    assert not decided(variant("fp32"), missed, int8_dynamic=False).passed
