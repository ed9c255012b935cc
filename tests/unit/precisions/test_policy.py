"""What is chosen for a processor and a model, that it can be overridden, and what may saturate."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from slipway.errors import SpecError
from slipway.precisions import convert, graphs
from slipway.precisions.marking import WEIGHTED
from slipway.precisions.policy import choose_policy
from slipway.precisions.saturation import saturating_share
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.recommended import X64_PRECISION, recommended_entries
from slipway.samples.arrays import save_npz
from slipway.specs import Int8DynamicSpec, Int8StaticSpec
from tests import tiny_models


def spec(**fields: object) -> Int8StaticSpec:
    return Int8StaticSpec.model_validate(fields)


def converted(folder: Path, **fields: object) -> ConvertResult:
    values = np.random.default_rng(0).standard_normal((20, 1, 8, 8)).astype(np.float32)
    save_npz(folder / "calibration.npz", {"image": values})
    request = ConvertRequest(
        precision="int8-static",
        model=tiny_models.save(tiny_models.cnn(), folder),
        options=spec(**fields),
        calibration=folder / "calibration.npz",
    )
    return convert(request, folder / "scratch")


@pytest.mark.parametrize(
    ("target", "activation", "guarded"),
    [("x64", "uint8", True), ("x64-vnni", "uint8", False), ("arm64", "int8", False),
     ("gpu", "int8", False)],
)  # fmt: skip
def test_the_target_decides_the_activations_and_the_session(
    target: str, activation: str, guarded: bool
) -> None:
    policy = choose_policy(tiny_models.cnn(), spec(target=target))
    assert policy.scheme.activation == activation
    assert policy.scheme.per_channel
    assert (X64_PRECISION in policy.session) is guarded
    assert target in policy.reasons[0]


def test_a_transformer_keeps_what_lies_between_its_products_in_float() -> None:
    policy = choose_policy(tiny_models.attention(), spec())
    assert policy.scheme.op_types == WEIGHTED
    assert "transformer" in policy.reasons[1]


def test_the_spec_overrides_every_choice() -> None:
    asked = spec(activations="int8", op_types=("Conv",), reduce_range=True, per_channel=False)
    scheme = choose_policy(tiny_models.cnn(), asked).scheme
    assert scheme.activation == "int8"
    assert scheme.op_types == ("Conv",)
    assert scheme.reduce_range
    assert not scheme.per_channel


def test_operators_that_cannot_be_quantized_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match="Softplus cannot be quantized; there are Add"):
        choose_policy(tiny_models.cnn(), spec(op_types=("Conv", "Softplus")))


def test_7_bit_weights_never_saturate_and_full_range_ones_may(tmp_path: Path) -> None:
    shares = {}
    for reduce_range in (False, True):
        folder = tmp_path / str(reduce_range)
        folder.mkdir()
        result = converted(folder, reduce_range=reduce_range)
        assert result.model is not None, result.reason
        shares[reduce_range] = saturating_share(graphs.load_model(result.model))
        assert result.settings["saturating_weight_pairs"] == round(shares[reduce_range], 5)
    assert shares[True] == 0.0
    assert 0.0 < shares[False] < 0.5


def test_what_may_saturate_is_told_with_the_session_setting_that_prevents_it(
    tmp_path: Path,
) -> None:
    result = converted(tmp_path)
    assert result.settings["session_config"] == f"{X64_PRECISION}=1"
    assert result.model is not None
    assert recommended_entries(result.model) == {X64_PRECISION: "1"}
    assert result.scales is not None
    assert "int8-may-saturate" in {finding.code for finding in result.scales.findings}
    assert "fastest on x64" in str(result.settings["why"])


def test_dynamic_int8_that_may_saturate_carries_the_setting_too(tmp_path: Path) -> None:
    request = ConvertRequest(
        precision="int8-dynamic",
        model=tiny_models.save(tiny_models.mlp(), tmp_path),
        options=Int8DynamicSpec(),
    )
    result = convert(request, tmp_path / "scratch")
    assert result.model is not None, result.reason
    assert float(result.settings["saturating_weight_pairs"]) > 0
    assert recommended_entries(result.model) == {X64_PRECISION: "1"}


def test_the_share_counts_pairs_in_the_order_in_which_kernels_sum() -> None:
    # Channels last, 100 and 100 are neighbours in the first row and 100 and -100 in the second.
    weight = np.array([[100, 100], [100, -100]], np.int8).reshape(2, 2, 1, 1)
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[n, 2, 4, 4] x) => (float[n, 2, 4, 4] y) <float scale = {0.1}> {
        w = DequantizeLinear (integers, scale)
        y = Conv (x, w)
    }"""
    model = onnx.parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(weight, "integers"))
    assert saturating_share(model) == 0.5


def test_signed_activations_are_written_as_such(tmp_path: Path) -> None:
    result = converted(tmp_path, target="gpu")
    assert result.model is not None, result.reason
    types = {t.name: t.data_type for t in graphs.load_model(result.model).graph.initializer}
    assert types["image_zero_point"] == onnx.TensorProto.INT8
    assert "session_config" not in result.settings
    assert recommended_entries(result.model) == {}
