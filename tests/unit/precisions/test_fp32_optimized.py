"""fp32-optimized: the same answers from fewer nodes, and only where it was made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.packaging.bundle import build_bundle
from slipway.packaging.selftest import selftest_bundle
from slipway.packaging.verify import verify_bundle
from slipway.precisions import convert, fp32_optimized
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers import hardware
from slipway.providers.sessions import Session
from slipway.reports import ConversionReport, Evidence, ExportReport, MadeFor, VariantReport
from slipway.specs import Fp32OptimizedSpec
from slipway.validation.checking import check_model
from tests import tiny_models
from tests.sample_bundles import make_content

GELU = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[batch, seq, 16] x) => (float[batch, seq, 16] y)
<float root = {1.4142135}, float one = {1.0}, float half = {0.5}>
{
    a = MatMul (x, query)
    t = Transpose <perm = [0, 2, 1]> (a)
    s = MatMul (a, t)
    p = Softmax <axis = -1> (s)
    h = MatMul (p, x)
    d = Div (h, root)
    e = Erf (d)
    f = Add (e, one)
    m = Mul (h, f)
    y = Mul (m, half)
}
"""


def optimize(model: onnx.ModelProto, folder: Path, *, fusions: bool = True) -> ConvertResult:
    source = tiny_models.save(model, folder, "in.onnx")
    request = ConvertRequest(
        precision="fp32-optimized", model=source, options=Fp32OptimizedSpec(fusions=fusions)
    )
    return convert(request, folder / "scratch")


def test_the_model_says_what_it_was_made_for(tmp_path: Path) -> None:
    result = optimize(tiny_models.cnn(), tmp_path)
    assert result.model is not None
    props = {p.key: p.value for p in onnx.load(result.model).metadata_props}
    assert MadeFor.model_validate_json(props[fp32_optimized.MADE_FOR]) == result.made_for
    assert result.made_for == hardware.made_here("cpu")


def test_the_optimized_graph_passes_the_same_check_as_any_other(tmp_path: Path) -> None:
    result = optimize(tiny_models.cnn(), tmp_path)
    assert result.model is not None
    report = check_model(result.model)
    assert report.passed, report.findings


def test_there_are_fewer_nodes_and_equal_answers(tmp_path: Path) -> None:
    model = tiny_models.with_weights(GELU, {"query": (16, 16)})
    result = optimize(model, tmp_path)
    assert result.model is not None
    nodes, before = result.settings["nodes"], result.settings["nodes_before"]
    assert isinstance(nodes, int)
    assert isinstance(before, int)
    assert nodes < before
    assert "Gelu" in str(result.settings["fusions"])
    feeds = {"x": np.random.default_rng(0).standard_normal((2, 3, 16)).astype(np.float32)}
    expected = Session(tmp_path / "in.onnx").run(feeds)["y"]
    np.testing.assert_allclose(Session(result.model).run(feeds)["y"], expected, atol=1e-5)


def test_fusions_are_left_out_where_that_is_asked(tmp_path: Path) -> None:
    model = tiny_models.with_weights(GELU, {"query": (16, 16)})
    assert optimize(model, tmp_path, fusions=False).settings["fusions"] == ""


def test_a_failing_fusion_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("no such shape")

    monkeypatch.setattr("onnxruntime.transformers.optimizer.optimize_model", fail)
    model = tiny_models.with_weights(GELU, {"query": (16, 16)})
    result = optimize(model, tmp_path)
    assert result.status == "passed"
    (finding,) = result.findings
    assert finding.code == "fusions-left-out"
    assert "no such shape" in finding.message


def test_a_graph_with_nothing_to_optimize_is_skipped(tmp_path: Path) -> None:
    result = optimize(parser.parse_model(tiny_models.RELU), tmp_path)
    assert result.status == "skipped"


def test_a_large_model_keeps_its_weights_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.precisions.graphs.LARGE_BYTES", 1000)
    model = tiny_models.mlp()
    weight = np.ones((32, 16), np.float32)
    tiny_models.replace_weight(model, "weight1", weight)
    result = optimize(model, tmp_path)
    assert result.model is not None
    assert (result.model.parent / "model.onnx.data").is_file()
    loaded = onnx.load(result.model).graph.initializer
    assert any(np.array_equal(np.unique(numpy_helper.to_array(t)), [1.0]) for t in loaded)


CPUINFO = "processor\t: 0\nflags\t\t: fpu avx avx2 fma {more}\n\nprocessor\t: 1\nflags\t\t: fpu\n"


@pytest.mark.parametrize(
    ("made", "here", "words"),
    [
        ("avx512f", "avx512f ht", None),
        ("avx512f", "", "with avx512f, which this one lacks"),
        ("", "avx512_vnni", "without avx512_vnni, which this one has"),
    ],
)
def test_processors_differ_by_the_features_that_decide(
    made: str, here: str, words: str | None, tmp_path: Path
) -> None:
    paths = []
    for name, more in (("made", made), ("here", here)):
        paths.append(tmp_path / name)
        paths[-1].write_text(CPUINFO.format(more=more))
    found = hardware.differs(hardware.made_here("cpu", cpuinfo=paths[0]), cpuinfo=paths[1])
    assert (found is None) if words is None else (found is not None and words in found)


def test_another_onnxruntime_is_another_machine() -> None:
    old = hardware.made_here("cpu").model_copy(update={"onnxruntime": "1.20.0"})
    assert "onnxruntime 1.20.0, and this is" in (hardware.differs(old) or "")


def bundle_made_for(made_for: MadeFor, folder: Path) -> Path:
    content = make_content(folder / "content")
    model = content.variants["fp32"]
    report = VariantReport(
        precision="fp32-optimized",
        status="passed",
        required=False,
        conversion=ConversionReport(precision="fp32-optimized", status="passed", made_for=made_for),
    )
    ref = ArtifactRef(uri="file:///m", digest=digest_bytes(b"m"), size_bytes=1)
    evidence = Evidence(
        name="table",
        framework="onnx",
        export=ExportReport(
            model=ref,
            golden=ref,
            framework="onnx",
            route="as it is",
            opset=18,
            inputs=(),
            outputs=(),
            golden_batch_sizes=(1,),
            tools={},
        ),
        variants=(report,),
        passed=True,
    )
    content = replace(
        content,
        variants={"fp32": model, "fp32-optimized": model},
        selected={"cpu": "fp32-optimized"},
        evidence={"evidence/evidence.json": evidence.model_dump_json().encode()},
    )
    build_bundle(folder / "bundle", content=content)
    return folder / "bundle"


def test_verify_warns_of_a_variant_that_was_made_elsewhere_and_the_selftest_says_so(
    tmp_path: Path,
) -> None:
    elsewhere = hardware.made_here("cpu").model_copy(update={"architecture": "riscv64"})
    bundle = bundle_made_for(elsewhere, tmp_path)
    report = verify_bundle(bundle)
    assert report.passed
    (finding,) = (f for f in report.findings if f.code == "made-elsewhere")
    assert finding.level == "warning"
    assert "riscv64" in finding.message
    replayed = selftest_bundle(bundle, lambda *_: (True, 0.0, None))
    assert replayed.passed
    assert [variant.reason for variant in replayed.variants] == [None, finding.message]


def test_verify_says_nothing_where_it_was_made(tmp_path: Path) -> None:
    bundle = bundle_made_for(hardware.made_here("cpu"), tmp_path)
    assert verify_bundle(bundle).findings == ()
