"""int4-weights: onnxruntime's own bytes, and only where weights dominate."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import parser

from slipway.precisions import convert
from slipway.precisions.int4_packing import pack_rows, unpair
from slipway.protocols import ConvertRequest, ConvertResult
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array
from slipway.specs import Int4WeightsSpec
from tests import tiny_models

TABLE = """
<ir_version: 9, opset_import: ["" : 18]>
g (int64[batch, seq] ids) => (float[batch, seq, 40] y) {
    e = Gather (table, ids)
    y = MatMul (e, w)
}
"""
TIED = """
<ir_version: 9, opset_import: ["" : 18]>
g (int64[n] ids) => (float[n, 50] y) <float[50] bias = {%s}> {
    e = Gather (table, ids)
    y = Gemm <transB = 1> (e, table, bias)
}
""" % ", ".join(["0.5"] * 50)  # noqa: UP031 - braces are the text's own
GEMM = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[n, 32] x) => (float[n, 8] y) {
    y = Gemm <alpha = 2.0> (x, w)
}
"""
READ_TWICE = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[n, 32] x) => (float[n, 32] y) {
    a = MatMul (x, w)
    b = MatMul (x, v)
    c = Add (w, v)
    y = MatMul (b, c)
}
"""


def to_int4(
    model: onnx.ModelProto, folder: Path, options: Int4WeightsSpec | None = None
) -> ConvertResult:
    source = tiny_models.save(model, folder, "in.onnx")
    request = ConvertRequest(
        precision="int4-weights", model=source, options=options or Int4WeightsSpec(block_size=16)
    )
    return convert(request, folder / "scratch")


def operators(result: ConvertResult) -> list[str]:
    assert result.model is not None, result.reason
    return [node.op_type for node in onnx.load(result.model).graph.node]


def relative_error(result: ConvertResult, folder: Path, feeds: dict[str, Array]) -> float:
    assert result.model is not None, result.reason
    expected = Session(folder / "in.onnx").run(feeds)["y"]
    actual = Session(result.model).run(feeds)["y"]
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


MATRICES = st.tuples(st.integers(1, 70), st.integers(1, 5)).flatmap(
    lambda shape: arrays.arrays(
        np.float32, shape, elements=st.floats(-(2**10), 2**10, width=16, allow_subnormal=False)
    )
)


@settings(max_examples=200, deadline=None)
@given(MATRICES, st.sampled_from([16, 32, 64]), st.booleans())
def test_packed_blocks_are_onnxruntimes_bit_for_bit(
    weight: Array, block_size: int, symmetric: bool
) -> None:
    from onnxruntime.capi._pybind_state import quantize_matmul_4bits

    depth, width = weight.shape
    blocks = -(-depth // block_size)
    padded = np.pad(weight, ((0, blocks * block_size - depth), (0, 0)))
    data = np.zeros((width, blocks, block_size // 2), np.uint8)
    scales = np.zeros((width, blocks), np.float32)
    zero_points = np.zeros((width, (blocks + 1) // 2), np.uint8)
    quantize_matmul_4bits(data, padded, scales, zero_points, block_size, width, depth, symmetric)
    packed = pack_rows(weight.T, block_size=block_size, symmetric=symmetric)
    np.testing.assert_array_equal(packed.scales, scales)
    if depth % 2:  # half of a byte that no kernel reads, and that onnxruntime does not clear
        data.reshape(width, -1)[:, depth // 2] &= 0xF
    np.testing.assert_array_equal(packed.data, data)
    if not symmetric:
        assert packed.zero_points is not None
        np.testing.assert_array_equal(packed.zero_points, zero_points)


@given(arrays.arrays(np.uint8, (3, 8)))
def test_every_byte_holds_two_numbers_in_their_order(packed: Array) -> None:
    levels = unpair(packed)
    assert levels.shape == (3, 16)
    np.testing.assert_array_equal(levels[:, 0::2] | (levels[:, 1::2] << 4), packed)


@pytest.mark.parametrize("symmetric", [True, False])
def test_tables_are_looked_up_in_packed(symmetric: bool, tmp_path: Path) -> None:
    model = tiny_models.with_weights(TABLE, {"table": (60, 40), "w": (40, 40)})
    result = to_int4(model, tmp_path, Int4WeightsSpec(block_size=16, symmetric=symmetric))
    assert operators(result) == ["GatherBlockQuantized", "MatMulNBits"]
    feeds = {"ids": np.arange(60).reshape(3, 20)}
    assert relative_error(result, tmp_path, feeds) < 0.2


def test_a_table_that_is_a_head_too_is_packed_for_both(tmp_path: Path) -> None:
    model = tiny_models.with_weights(TIED, {"table": (50, 32)})
    result = to_int4(model, tmp_path)
    assert operators(result) == ["GatherBlockQuantized", "MatMulNBits", "Add"]
    assert relative_error(result, tmp_path, {"ids": np.arange(50)}) < 0.2


def test_embeddings_stay_where_that_is_asked(tmp_path: Path) -> None:
    model = tiny_models.with_weights(TABLE, {"table": (30, 40), "w": (40, 40)})
    result = to_int4(model, tmp_path, Int4WeightsSpec(block_size=16, embeddings=False))
    assert operators(result) == ["Gather", "MatMulNBits"]


def test_a_fifth_of_the_weights_remains(tmp_path: Path) -> None:
    result = to_int4(tiny_models.attention(), tmp_path, Int4WeightsSpec(block_size=16))
    assert result.settings["packed_weights"] == 4
    before, after = result.settings["weight_bytes_before"], result.settings["weight_bytes"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after < before / 4


def test_a_convolutional_model_is_skipped_with_its_share(tmp_path: Path) -> None:
    result = to_int4(tiny_models.cnn(), tmp_path)
    assert result.status == "skipped"
    assert "11% of the weights" in (result.reason or "")


def test_a_model_without_matrices_is_skipped(tmp_path: Path) -> None:
    result = to_int4(parser.parse_model(tiny_models.RELU), tmp_path)
    assert result.status == "skipped"
    assert "constant float32 matrix" in (result.reason or "")


def test_a_scaled_gemm_is_left_alone(tmp_path: Path) -> None:
    model = tiny_models.with_weights(GEMM, {"w": (32, 8)})
    assert to_int4(model, tmp_path).status == "skipped"


def test_a_weight_that_is_read_unpacked_as_well_stays(tmp_path: Path) -> None:
    model = tiny_models.with_weights(READ_TWICE, {"w": (32, 32), "v": (32, 32)})
    assert to_int4(model, tmp_path).status == "skipped"


def test_a_weight_that_is_not_finite_fails_by_name(tmp_path: Path) -> None:
    model = tiny_models.mlp()
    values = tiny_models.weight(model, "weight1")
    values[0, 0] = np.inf
    tiny_models.replace_weight(model, "weight1", values)
    result = to_int4(model, tmp_path)
    assert result.status == "failed"
    assert "weight1" in (result.reason or "")


def test_products_of_eight_bits_are_asked_of_the_kernel(tmp_path: Path) -> None:
    result = to_int4(
        tiny_models.mlp(), tmp_path, Int4WeightsSpec(block_size=16, int8_products=True)
    )
    assert result.model is not None
    levels = [
        a.i for n in onnx.load(result.model).graph.node for a in n.attribute if "acc" in a.name
    ]
    assert levels == [4, 4]


def test_the_smallest_share_is_the_specs(tmp_path: Path) -> None:
    result = to_int4(tiny_models.cnn(), tmp_path, Int4WeightsSpec(block_size=16, smallest_share=0))
    assert "MatMulNBits" in operators(result)
    kept = {t.name for t in onnx.load(result.model or "").graph.initializer}
    assert "conv1_weight" in kept
