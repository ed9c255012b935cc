"""Releases as they come out: a CNN that passed, one that failed, a tabular model, the least one."""

import hashlib

import pytest

from slipway.artifacts import GOLDEN_MEDIA_TYPE, ONNX_MEDIA_TYPE, ArtifactRef
from slipway.reports import (
    BenchmarkConditions,
    BenchmarkReport,
    BenchmarkSuite,
    CheckReport,
    ConversionReport,
    Estimate,
    Evidence,
    ExportReport,
    Finding,
    MetricReport,
    OutputParity,
    ParityReport,
    Provenance,
    ScaleAudit,
    TensorInfo,
    ValidationReport,
    VariantReport,
    Verdict,
)
from slipway.specs import Metric, Precision, Tolerance

NOT_ESTIMABLE = Estimate(value_ms=None, low_ms=None, high_ms=None)
PEAK = Finding(
    level="warning",
    code="dynamic-dimension-renamed",
    message="the dynamic dimension is called s0 in the graph and batch in the spec",
    place="image",
)


def digest(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def ref(name: str, size_bytes: int, media_type: str = ONNX_MEDIA_TYPE) -> ArtifactRef:
    return ArtifactRef(
        uri=f"store/{name}", digest=digest(name), size_bytes=size_bytes, media_type=media_type
    )


def around(value_ms: float, low: float, high: float) -> Estimate:
    return Estimate(value_ms=value_ms, low_ms=low, high_ms=high)


def row(  # noqa: PLR0913 - a row of a table
    precision: Precision,
    batch_size: int,
    p50: Estimate,
    p95: Estimate,
    p99: Estimate,
    *,
    verdict: Verdict = "baseline",
    ratio: tuple[float, float, float] | None = None,
    queries: int = 700,
    meets_slo: bool | None = None,
    noisy: bool = False,
) -> BenchmarkReport:
    return BenchmarkReport(
        precision=precision,
        provider="cpu",
        batch_size=batch_size,
        queries=queries,
        p50=p50,
        p95=p95,
        p99=p99,
        throughput=batch_size * 1000 / (p50.value_ms or 1.0),
        ratio=ratio[0] if ratio else None,
        ratio_interval=ratio[1:] if ratio else None,
        verdict=verdict,
        meets_slo=meets_slo,
        noisy=noisy,
    )


def conditions(*, load: float = 0.31, steal: float | None = 0.0) -> BenchmarkConditions:
    return BenchmarkConditions(
        host="bench-04",
        cpu="AMD EPYC 9B14 (AVX512-VNNI)",
        cores=2,
        intra_op_threads=2,
        onnxruntime="1.31.1",
        confidence=0.95,
        load_average=load,
        steal_percent=steal,
    )


def output(
    name: str,
    error: float,
    *,
    passed: bool = True,
    agreement: float | None = None,
    reason: str | None = None,
) -> OutputParity:
    return OutputParity(
        output=name,
        passed=passed,
        max_abs_error=error,
        max_rel_error=error * 3.1,
        worst_index=(5, 3),
        worst_case=1,
        expected=-4.1827493,
        actual=-4.1827493 + error,
        cosine=1 / (1 + error * error),
        relative_l2=error / 7,
        label_agreement=agreement,
        smallest_tolerance=error * 0.8,
        reason=reason,
    )


def parity(*outputs: OutputParity, tolerance: Tolerance | None = None) -> ParityReport:
    return ParityReport(
        passed=all(o.passed for o in outputs),
        tolerance=tolerance or Tolerance(),
        outputs=outputs,
        cases=2,
        samples=96,
    )


def accuracy(value: float, *, baseline: float = 0.9833, budget: float = 0.01) -> MetricReport:
    return metric("accuracy", value, baseline=baseline, budget=budget, samples=360)


def metric(
    name: Metric, value: float, *, baseline: float, budget: float, samples: int
) -> MetricReport:
    lower = name in {"rmse", "mae"}
    drop = round(value - baseline if lower else baseline - value, 12)
    return MetricReport(
        passed=drop <= budget,
        name=name,
        value=value,
        baseline=baseline,
        drop=drop,
        budget=budget,
        samples=samples,
    )


def validated(
    precision: Precision,
    compared: ParityReport,
    measured: MetricReport | None,
    *findings: Finding,
    reason: str | None = None,
) -> ValidationReport:
    return ValidationReport(
        precision=precision,
        passed=reason is None,
        reason=reason,
        check=CheckReport(passed=True, findings=findings, opset=18, ir_version=10),
        parity=compared,
        metric=measured,
    )


def variant(
    precision: Precision,
    size_bytes: int,
    validation: ValidationReport,
    *rows: BenchmarkReport,
    settings: dict[str, str | int | float | bool] | None = None,
    scales: ScaleAudit | None = None,
) -> VariantReport:
    model = ref(f"{precision}-{size_bytes}.onnx", size_bytes)
    return VariantReport(
        precision=precision,
        status="passed" if validation.passed else "failed",
        required=precision == "fp32",
        reason=validation.reason,
        model=model,
        conversion=ConversionReport(
            precision=precision,
            status="passed",
            model=model,
            scales=scales,
            settings=settings or {},
            tools={"onnx": "1.23.2", "onnxruntime": "1.31.1"},
        ),
        validation=validation,
        benchmarks=rows,
    )


def skipped(precision: Precision, reason: str) -> VariantReport:
    return VariantReport(
        precision=precision,
        status="skipped",
        required=False,
        reason=reason,
        conversion=ConversionReport(precision=precision, status="skipped", reason=reason),
    )


def evidence(
    name: str,
    *variants: VariantReport,
    selected: dict[str, Precision] | None = None,
    failures: tuple[str, ...] = (),
    framework: str = "pytorch",
    route: str = "torch.onnx dynamo",
    measured: BenchmarkConditions | None = None,
) -> Evidence:
    rows = tuple(b for v in variants for b in v.benchmarks)
    suites = (
        (BenchmarkSuite(provider="cpu", conditions=measured or conditions(), rows=rows),)
        if rows
        else ()
    )
    tabular = framework == "sklearn"
    dimensions: tuple[int | str | None, ...] = ("batch", 30) if tabular else ("batch", 1, 8, 8)
    return Evidence(
        name=name,
        framework=framework,
        export=ExportReport(
            model=ref(f"{name}.onnx", 228_412),
            golden=ref(f"{name}.npz", 50_312, GOLDEN_MEDIA_TYPE),
            framework=framework,
            route=route,
            opset=18,
            inputs=(
                TensorInfo(
                    name="features" if tabular else "image", dtype="float32", shape=dimensions
                ),
            ),
            outputs=(TensorInfo(name="logits", dtype="float32", shape=("batch", 10)),),
            golden_batch_sizes=(1, 8),
            tools={"torch": "2.13.0", "onnxscript": "0.7.1", "onnx": "1.23.2"},
        ),
        variants=variants,
        suites=suites,
        selected=selected or {},
        passed=not failures,
        failures=failures,
    )


def make_provenance() -> Provenance:
    return Provenance(
        source_digest=digest("model.pt2"),
        data_digests={"golden": digest("golden.npz"), "evaluation": digest("evaluation.npz")},
        spec_digest=digest("spec"),
        tools={"slipway": "0.1.0", "torch": "2.13.0", "onnx": "1.23.2", "onnxruntime": "1.31.1"},
        python="3.11.2",
        platform="Linux-6.1-x86_64",
    )


def make_passed_cnn() -> Evidence:
    loose = Tolerance(rtol=1e-2, atol=1e-2)
    fp32 = variant(
        "fp32",
        228_412,
        validated("fp32", parity(output("logits", 2.4e-6, agreement=1.0)), accuracy(0.9833), PEAK),
        row(
            "fp32",
            1,
            around(0.7421, 0.7388, 0.7460),
            around(0.812, 0.801, 0.829),
            around(0.968, 0.914, 1.182),
            meets_slo=True,
        ),
        row(
            "fp32",
            8,
            around(3.214, 3.190, 3.241),
            around(3.52, 3.47, 3.61),
            around(4.05, 3.83, 4.72),
        ),
    )
    fp16 = variant(
        "fp16",
        117_020,
        validated(
            "fp16",
            parity(output("logits", 3.1e-3, agreement=1.0), tolerance=loose),
            accuracy(0.9833),
            PEAK,
        ),
        row(
            "fp16",
            1,
            around(0.9312, 0.9251, 0.9377),
            around(1.021, 1.008, 1.043),
            around(1.214, 1.142, 1.390),
            verdict="slower",
            ratio=(1.254, 1.241, 1.268),
            meets_slo=True,
        ),
        row(
            "fp16",
            8,
            around(3.871, 3.840, 3.902),
            around(4.18, 4.12, 4.29),
            around(4.77, 4.51, 5.38),
            verdict="slower",
            ratio=(1.203, 1.188, 1.219),
        ),
        settings={"keep_io_types": True},
    )
    dynamic = variant(
        "int8-dynamic",
        96_334,
        validated(
            "int8-dynamic",
            parity(output("logits", 0.114, agreement=0.9896), tolerance=loose),
            accuracy(0.9806),
            PEAK,
        ),
        row(
            "int8-dynamic",
            1,
            around(0.7390, 0.7341, 0.7452),
            around(0.833, 0.815, 0.851),
            around(0.991, 0.930, 1.160),
            verdict="no difference",
            ratio=(0.996, 0.988, 1.005),
            meets_slo=True,
        ),
        row(
            "int8-dynamic",
            8,
            around(3.02, 2.98, 3.06),
            around(3.39, 3.31, 3.52),
            around(3.95, 3.66, 4.91),
            verdict="faster",
            ratio=(0.941, 0.928, 0.955),
        ),
        settings={"per_channel": True, "weight_type": "QInt8"},
        scales=ScaleAudit(passed=True, tensors=6),
    )
    static = variant(
        "int8-static",
        63_508,
        validated(
            "int8-static",
            parity(output("logits", 0.187, agreement=0.9896), tolerance=loose),
            accuracy(0.9822),
            PEAK,
        ),
        row(
            "int8-static",
            1,
            around(0.4117, 0.4086, 0.4160),
            around(0.463, 0.455, 0.474),
            around(0.561, 0.522, 0.688),
            verdict="faster",
            ratio=(0.5551, 0.5488, 0.5623),
            meets_slo=True,
        ),
        row(
            "int8-static",
            8,
            around(1.428, 1.411, 1.447),
            around(1.61, 1.58, 1.66),
            around(1.98, 1.81, 2.53),
            verdict="faster",
            ratio=(0.4452, 0.4390, 0.4519),
        ),
        settings={"method": "percentile", "percentile": 99.999, "samples": 256, "weights": "QInt8"},
        scales=ScaleAudit(
            passed=True,
            tensors=41,
            findings=(
                Finding(
                    level="warning",
                    code="wide-range",
                    message="one activation's range is 80 times its median's; "
                    "most of its values fall on few steps",
                    place="/features/3/Relu_output_0",
                ),
            ),
        ),
    )
    return evidence("digits-cnn", fp32, fp16, dynamic, static, selected={"cpu": "int8-static"})


def make_failed_cnn() -> Evidence:
    why = (
        "output logits differs from the source model by 0.0312 where 4.3e-4 is allowed, "
        "at case 1 [5, 3]"
    )
    fp32 = variant(
        "fp32",
        228_412,
        validated(
            "fp32",
            parity(
                output("logits", 0.0312, passed=False, agreement=0.9688, reason=why),
                output("embedding", 4.0e-7),
            ),
            accuracy(0.9611, baseline=0.9611),
            PEAK,
            Finding(
                level="error",
                code="dropped-dimension",
                message="the graph fixes the batch at 1 where the spec asks for a dynamic one",
                place="image",
            ),
            reason=why,
        ),
        row(
            "fp32",
            1,
            around(0.74, 0.71, 0.79),
            around(1.31, 1.02, 2.40),
            NOT_ESTIMABLE,
            queries=400,
            noisy=True,
        ),
    )
    static = variant(
        "int8-static",
        63_508,
        validated(
            "int8-static",
            parity(output("logits", 2.74, passed=False, agreement=0.41)),
            accuracy(0.8611, baseline=0.9611),
            reason="accuracy fell by 10.0 points to 86.1 %, and the budget is 1.0 points",
        ),
        row(
            "int8-static",
            1,
            around(0.41, 0.39, 0.46),
            around(0.9, 0.6, 9.1),
            NOT_ESTIMABLE,
            verdict="faster",
            ratio=(0.56, 0.53, 0.61),
            queries=400,
            noisy=True,
        ),
        settings={"method": "minmax", "samples": 32},
        scales=ScaleAudit(
            passed=False,
            tensors=41,
            findings=(
                Finding(
                    level="error",
                    code="infinite-scale",
                    message="the scale is infinite: the calibration data holds an infinity",
                    place="/features/0/Conv_output_0_scale",
                ),
            ),
        ),
    )
    return evidence(
        "digits-cnn",
        fp32,
        skipped("fp16", "a weight of 81,204 is beyond what float16 can hold (65,504)"),
        static,
        failures=(f"fp32 (required): {why}", "selection: no variant can be served on cpu"),
        measured=conditions(load=3.87, steal=6.4),
    )


def make_tabular() -> Evidence:
    labels = OutputParity(
        output="label",
        passed=True,
        max_abs_error=None,
        max_rel_error=None,
        label_agreement=1.0,
        expected="benign",
        actual="benign",
    )
    compared = parity(labels, output("probabilities", 8.0e-8, agreement=1.0))
    fp32 = variant(
        "fp32",
        1_348_201,
        validated(
            "fp32",
            compared,
            metric("auc", 0.99312, baseline=0.99312, budget=0.01, samples=171),
        ),
        row(
            "fp32",
            1,
            around(0.0211, 0.0209, 0.0213),
            around(0.0261, 0.0252, 0.0275),
            NOT_ESTIMABLE,
            queries=500,
        ),
    )
    return evidence(
        "tumour-forest",
        fp32,
        skipped("fp16", "the tree ensemble has no float16 form; fp32 is what the runtime computes"),
        selected={"cpu": "fp32"},
        framework="sklearn",
        route="skl2onnx 1.20.0",
        measured=conditions(steal=None),
    )


def make_minimal() -> Evidence:
    return evidence(
        "linear", variant("fp32", 412, validated("fp32", parity(output("y", 0.0)), None))
    )


@pytest.fixture
def passed_cnn() -> Evidence:
    return make_passed_cnn()


@pytest.fixture
def failed_cnn() -> Evidence:
    return make_failed_cnn()


@pytest.fixture
def tabular() -> Evidence:
    return make_tabular()


@pytest.fixture
def minimal() -> Evidence:
    return make_minimal()


@pytest.fixture
def provenance() -> Provenance:
    return make_provenance()
