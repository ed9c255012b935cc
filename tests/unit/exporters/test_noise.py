"""A source's own noise is measured by running it in another way, and held against the tolerance."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import torch

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.errors import ExportFailed
from slipway.exporters import export
from slipway.exporters.noise import measure_noise
from slipway.exporters.pytorch import open_program
from slipway.exporters.torch_noise import torch_noise
from slipway.protocols import ExportRequest
from slipway.reports import ExportReport, OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import ReleaseSpec, SourceSpec
from slipway.stages.verdicts import warn_of_noise
from tests.models.diverging import Normalised, Waves, save
from tests.models.onnx import trained_net
from tests.models.pytorch import save_net

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)


def request(path: Path) -> ExportRequest:
    return ExportRequest(source=SourceSpec(framework="pytorch", uri=str(path)), path=path)


def sums(feeds: Mapping[str, Array]) -> dict[str, Array]:
    x = feeds["x"]
    return {"y": np.cumsum(x, axis=1)[:, -1], "n": np.array([len(x)])}


def recorded() -> GoldenSet:
    x = np.random.default_rng(0).standard_normal((3, 5000)).astype(np.float32)
    return GoldenSet((GoldenCase({"x": x}, sums({"x": x})),))


def test_float64_shows_what_float32_rounds_and_the_same_again_shows_nothing() -> None:
    (found,) = measure_noise(recorded(), float64=sums, one_thread=sums)
    assert found.output == "y", "whole numbers have no noise"
    assert found.float64 is not None
    assert 1e-8 < found.float64 < 1e-4
    assert found.one_thread == 0
    assert found.needed == found.float64


def test_a_way_that_the_source_does_not_run_is_left_out() -> None:
    def refuses(_: Mapping[str, Array]) -> dict[str, Array]:
        raise ExportFailed("not in float64")

    assert measure_noise(recorded(), float64=refuses) == ()
    (found,) = measure_noise(recorded(), float64=refuses, one_thread=sums)
    assert found.float64 is None


def test_an_export_carries_the_noise_and_leaves_the_weights_as_they_were(tmp_path: Path) -> None:
    calm = export(request(save_net(tmp_path / "calm.pt2")), tmp_path)
    assert calm.noise[0].float64 is not None
    assert 0 < calm.noise[0].float64 < 1e-5
    program = open_program(request(save(Waves().eval(), tmp_path / "wild.pt2")))
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    before = program.run({"x": x})
    golden = GoldenSet((GoldenCase({"x": x}, {"output": before.numpy()}),))
    (wild,) = torch_noise(program, ["output"], golden)
    assert wild.float64 is not None
    assert wild.float64 > 1e-3
    assert torch.equal(program.run({"x": x}), before)


def test_a_program_in_training_mode_has_no_noise_of_its_own(tmp_path: Path) -> None:
    program = open_program(request(save(Normalised().train(), tmp_path / "model.pt2")))
    assert torch_noise(program, ["output"], recorded()) == ()


def report(*noise: OutputNoise) -> ExportReport:
    ref = ArtifactRef(uri="file:///m", digest=digest_bytes(b"m"), size_bytes=1)
    return ExportReport(
        model=ref,
        golden=ref,
        framework="pytorch",
        route="dynamo",
        opset=18,
        inputs=(),
        outputs=(),
        golden_batch_sizes=(1,),
        tools={},
        noise=noise,
    )


def test_a_tolerance_below_the_noise_is_warned_of() -> None:
    raw = {"name": "m", "source": {"framework": "pytorch", "uri": "m.pt2"}}
    spec = ReleaseSpec.model_validate(raw)
    noisy = report(
        OutputNoise(output="y", float64=3e-3, one_thread=0.0),
        OutputNoise(output="z", float64=1e-6, one_thread=1e-6),
    )
    (finding,) = warn_of_noise(spec, noisy).findings
    assert (finding.level, finding.code, finding.place) == ("warning", "tolerance-below-noise", "y")
    assert "up to rtol 3.0e-03 and atol 3.0e-04" in finding.message
    wide = {**raw, "parity": {"fp32": {"rtol": 1e-2, "atol": 1e-3}}}
    assert warn_of_noise(ReleaseSpec.model_validate(wide), noisy).findings == ()


def test_an_onnx_source_is_held_against_itself_in_float64_and_on_one_thread(tmp_path: Path) -> None:
    onnx.save(trained_net(), tmp_path / "net.onnx")
    source = SourceSpec(framework="onnx", uri="net.onnx")
    result = export(ExportRequest(source=source, path=tmp_path / "net.onnx"), tmp_path)
    (noise,) = result.noise
    assert noise.output == result.outputs[0].name
    assert noise.float64 is not None
    assert 0 < noise.float64 < 1e-5
    assert noise.one_thread is not None
    assert noise.one_thread < 1e-5


def test_an_onnx_source_with_what_float64_cannot_do_has_no_such_noise(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
        gelu (float[batch, 4] x) => (float[batch, 4] y) { y = com.microsoft.FastGelu (x) }"""
    )
    onnx.save(model, tmp_path / "gelu.onnx")
    source = SourceSpec(framework="onnx", uri="gelu.onnx")
    result = export(ExportRequest(source=source, path=tmp_path / "gelu.onnx"), tmp_path)
    assert [noise.float64 for noise in result.noise] == [None]
