"""Which entry of a spec makes which stage run again: the table that caching rests on."""

from typing import Any

import pytest

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.protocols import BenchmarkJob
from slipway.reports import Evidence, ExportReport, SealedBundle
from slipway.specs import ReleaseSpec
from slipway.stages.making import Materials
from slipway.stages.measuring import benchmark_jobs
from tasks import measuring, stages
from tasks.policy import content_key

SPEC: dict[str, Any] = {
    "name": "tiny",
    "source": {"framework": "pytorch", "uri": "/here/model.pt2", "factory": "/here/model.py:build"},
    "inputs": {"x": {"dtype": "float32", "shape": ["batch", 4]}},
    "outputs": ["y"],
    "data": {"calibration": "/here/cal.npz", "evaluation": "/here/eval.npz"},
    "metric": "rmse",
    "precisions": {"fp16": {}, "int8-dynamic": {}, "int8-static": {}},
    "benchmark": {"queries": 20},
    "assets": ["/here/labels.json"],
    "register": {"name": "tiny"},
}
ROLES = ("source", "factory", "golden", "cal", "eval", "model", "asset", "sealed")
EXPORT, VALIDATE, BENCHMARK, SELFTEST = "export", "validate", "benchmark", "self-test"
FP16, DYNAMIC, STATIC = "convert fp16", "convert int8-dynamic", "convert int8-static"


def ref(name: str) -> ArtifactRef:
    return ArtifactRef(uri=f"file:///{name}", digest=digest_bytes(name.encode()), size_bytes=1)


def keys(raw: dict[str, Any], changed: dict[str, str] | None = None) -> dict[str, str | None]:
    """Every stage's key for a spec, given fixed artifacts; `changed` gives some other contents."""
    at = {role: ref((changed or {}).get(role, role)) for role in ROLES}
    spec = ReleaseSpec.model_validate(raw)
    materials = Materials(
        source=at["source"],
        factory=at["factory"],
        calibration=at["cal"],
        evaluation=at["eval"],
        assets={"labels.json": at["asset"]},
    )
    evidence = Evidence(
        name=spec.name,
        framework="pytorch",
        export=ExportReport(
            model=at["model"],
            golden=at["golden"],
            framework="pytorch",
            route="dynamo",
            opset=spec.opset,
            inputs=(),
            outputs=(),
            golden_batch_sizes=(1,),
            tools={},
        ),
        variants=(),
        passed=True,
    )
    given = {
        "spec": spec,
        "source": at["source"],
        "factory": at["factory"],
        "golden": at["golden"],
        "sample_data": materials.sample_data,
        "model": at["model"],
        "evaluation": at["eval"],
        "baseline": None,
        "materials": materials,
        "evidence": evidence,
        "bundle": SealedBundle(digest=at["sealed"].digest, ref=at["sealed"]),
    }
    found: dict[str, object] = {
        EXPORT: stages._export_reads(given),
        VALIDATE: stages._validate_reads({**given, "precision": "fp16"}),
        BENCHMARK: measuring._benchmark_reads({"job": job_of(spec, at)}),
        "bundle": stages._bundle_reads(given),
        SELFTEST: stages._selftest_reads(given),
    }
    for precision in ("fp16", "int8-dynamic", "int8-static"):
        calibration = materials.calibration_for(precision)
        found[f"convert {precision}"] = stages._convert_reads(
            {**given, "precision": precision, "calibration": calibration}
        )
    return {
        name: None if reads is None else content_key(name, 1, reads, ())
        for name, reads in found.items()
    }


def job_of(spec: ReleaseSpec, at: dict[str, ArtifactRef]) -> BenchmarkJob:
    return benchmark_jobs(spec, {"fp32": at["model"]}, at["golden"])[0]


def changes(raw: dict[str, Any], **changed: str) -> set[str]:
    before, after = keys(SPEC), keys(raw, changed)
    return {name for name in before if before[name] != after[name]}


def with_entry(dotted: str, value: object) -> dict[str, Any]:
    *sections, last = dotted.split("/")
    spec: dict[str, Any] = {**SPEC}
    place = spec
    for section in sections:
        place[section] = {**place.get(section, {})}
        place = place[section]
    place[last] = value
    return spec


# The bundle carries the whole spec, so that every entry of it decides the bundle's bytes.
@pytest.mark.parametrize(
    ("entry", "value", "again"),
    [
        ("name", "other", set()),
        ("register/alias", "champion", set()),
        ("opset", 17, {EXPORT}),
        ("outputs", ["z"], {EXPORT}),
        ("inputs/x", {"dtype": "float32", "shape": [1, 4]}, {EXPORT}),
        ("source/factory", "/here/model.py:other", {EXPORT}),
        ("source/factory_arguments", {"uri": "a"}, {EXPORT}),
        ("data/labels", "target", {EXPORT, STATIC, VALIDATE}),
        ("metric", "mae", {STATIC, VALIDATE}),
        ("metric_output", "y", {STATIC, VALIDATE}),
        ("budget/metric_drop", 0.5, {STATIC, VALIDATE}),
        ("parity/fp16", {"rtol": 0.5}, {VALIDATE}),
        ("parity/label_agreement", 0.5, {STATIC, VALIDATE}),
        ("parity/int8_relative_error", 0.5, {STATIC, VALIDATE}),
        ("precisions/int8-static", {"samples": 7}, {STATIC}),
        ("precisions/int8-dynamic", {"per_channel": False}, {DYNAMIC}),
        ("precisions/fp16", {"keep_io_types": False}, {FP16}),
        ("precisions/fp16", {"required": True}, set()),
        ("benchmark/queries", 21, {BENCHMARK}),
        ("benchmark/intra_op_threads", 1, {BENCHMARK}),
        ("benchmark/provider_options", {"cpu": {"use_arena": False}}, {BENCHMARK}),
        ("benchmark/fresh", True, {BENCHMARK}),
        ("benchmark/pools", {"cpu": "there"}, set()),
        ("benchmark/pool_start_seconds", 5, set()),
    ],
)
def test_an_entry_makes_these_stages_run_again(entry: str, value: object, again: set[str]) -> None:
    assert changes(with_entry(entry, value)) == {*again, "bundle"}


def test_another_layout_makes_the_export_run_again() -> None:
    images = {"framework": "keras", "uri": "/here/model.keras"}
    before = keys({**SPEC, "source": images})
    after = keys({**SPEC, "source": {**images, "inputs_as_nchw": ["x"]}})
    assert {name for name in before if before[name] != after[name]} == {EXPORT, "bundle"}


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("source/uri", "/there/model.pt2"),
        ("source/factory", "/there/model.py:build"),
        ("data/calibration", "/there/cal.npz"),
        ("data/evaluation", "/there/eval.npz"),
        ("assets", ["/there/labels.json"]),
    ],
)
def test_files_that_only_moved_make_nothing_run_again(entry: str, value: object) -> None:
    assert changes(with_entry(entry, value)) == set()


@pytest.mark.parametrize(
    ("role", "again"),
    [
        ("source", {EXPORT}),
        ("factory", {EXPORT}),
        ("model", {FP16, DYNAMIC, STATIC, VALIDATE, BENCHMARK}),
        ("golden", {EXPORT, VALIDATE, STATIC, BENCHMARK}),
        ("cal", {FP16, STATIC}),
        ("eval", {EXPORT, STATIC, VALIDATE}),
        ("asset", set()),
        ("sealed", {SELFTEST}),
    ],
)
def test_other_contents_make_these_stages_run_again(role: str, again: set[str]) -> None:
    assert changes(SPEC, **{role: "other"}) - {"bundle"} == again


def test_golden_data_of_its_own_frees_the_export_from_the_rest() -> None:
    given = Materials(source=ref("s"), golden=ref("g"), evaluation=ref("e"), calibration=ref("c"))
    assert given.sample_data is None
    assert given.model_copy(update={"golden": None}).sample_data == ref("e")


def test_a_benchmark_is_never_taken_from_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(SPEC)
    monkeypatch.setattr("platform.node", lambda: "another-host")
    after = keys(SPEC)
    assert {name for name in before if before[name] != after[name]} == {BENCHMARK, SELFTEST}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("slipway.stages.measuring.allotted", (0,)),
        ("slipway.stages.measuring.allotted_cores", 1),
        ("slipway.stages.measuring.device_fingerprint", {"onnxruntime-openvino": "1.24.1"}),
        ("slipway.stages.measuring._quota", "100000 100000"),
        ("platform.release", "another-kernel"),
    ],
)
def test_a_benchmark_is_never_taken_from_another_runtime_or_share_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, place: str, value: object
) -> None:
    before = keys(SPEC)
    monkeypatch.setattr(place, lambda: value)
    assert keys(SPEC)[BENCHMARK] != before[BENCHMARK]


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"])
def test_a_benchmark_is_never_taken_from_another_setting_of_threads_or_devices(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv(variable, raising=False)
    before = keys(SPEC)
    monkeypatch.setenv(variable, "1")
    assert {name for name, key in keys(SPEC).items() if key != before[name]} == {BENCHMARK}


def test_the_order_of_models_decides_a_benchmark_since_the_first_is_the_baseline() -> None:
    spec = ReleaseSpec.model_validate(SPEC)
    models = {"fp32": ref("a"), "fp16": ref("b")}
    (job,) = benchmark_jobs(spec, models, ref("golden"))  # type: ignore[arg-type]
    turned = job.model_copy(update={"models": job.models[::-1]})
    reads = [measuring._benchmark_reads({"job": one}) for one in (job, turned)]
    assert reads[0] != reads[1]


def test_fresh_benchmarks_have_no_key_at_all() -> None:
    assert keys(with_entry("benchmark/fresh", value=True))[BENCHMARK] is None
