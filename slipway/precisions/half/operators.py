"""What operators allow: which parameters may be float16 by schema, and which have GPU kernels."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import onnx

HALF: Final = "tensor(float16)"
FULL: Final = "tensor(float)"


def words(text: str) -> frozenset[str]:
    """The words of a text, for long lists of operators."""
    return frozenset(text.split())


# Operators of ONNX with a float16 kernel in onnxruntime's CUDA provider, after the table that it
# publishes (docs/OperatorKernels.md). All others run on the CPU or in float32 there, so that a
# float16 value would be cast twice for nothing. Control flow takes whatever its bodies give.
KERNELS: Final = words(
    """
    Abs Add ArgMax ArgMin Attention AveragePool BatchNormalization Cast CastLike Ceil Clip Compress
    Concat ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Dropout Einsum Elu Equal
    Erf Exp Expand Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool
    GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish Identity InstanceNormalization IsNaN
    LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Min Mul
    Neg NonZero OneHot PRelu Pad Pow RMSNormalization RNN Reciprocal ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Resize ReverseSequence Round Scatter ScatterElements ScatterND Selu Shape Sigmoid Sign
    SimplifiedLayerNormalization Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
    Squeeze Sub Sum Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where
    """
)
MICROSOFT_KERNELS: Final = words(
    """
    Attention BiasDropout BiasGelu BiasSoftmax BiasSplitGelu DecoderMaskedMultiHeadAttention
    EmbedLayerNormalization FastGelu FusedConv FusedMatMul Gelu GemmFastGelu GroupNorm
    GroupQueryAttention MatMulNBits MultiHeadAttention NhwcConv PackedAttention
    PackedMultiHeadAttention QuickGelu RotaryEmbedding SkipGroupNorm SkipLayerNormalization
    SkipSimplifiedLayerNormalization TransposeMatMul
    """
)
# The work that float16 is for: no cast is too dear for it.
MATRIX: Final = words(
    """
    Attention Conv ConvTranspose DecoderMaskedMultiHeadAttention Einsum FusedConv FusedMatMul GRU
    Gemm GemmFastGelu GroupQueryAttention LSTM MatMul MatMulNBits MultiHeadAttention NhwcConv
    PackedAttention PackedMultiHeadAttention RNN TransposeMatMul
    """
)
# Parameters that may be of either type whatever the rest of the node is.
_FREE: Final = {"Cast": 0, "CastLike": 0, "Shape": 0, "Size": 0, "IsNaN": 0, "NonZero": 0}

Opsets = Mapping[str, int]


@dataclass(frozen=True)
class Signature:
    """A node's parameters by the names of their type variables."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    halves: frozenset[str]
    """The variables that may stand for float16 as well as for float32."""
    free: int | None = None
    """The input that is read in whatever type it has."""


def signature(node: onnx.NodeProto, opsets: Opsets) -> Signature | None:
    """The types that a node's schema allows; None for an operator without a known one."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    found = _standard(domain, node.op_type, opsets.get(domain, 1)) or _contributed(
        domain, node.op_type
    )
    if found is None:
        return None
    inputs, outputs, halves = found
    return Signature(
        inputs=_spread(inputs, len(node.input)),
        outputs=_spread(outputs, len(node.output)),
        halves=halves,
        free=_FREE.get(node.op_type) if not domain else None,
    )


def has_kernel(node: onnx.NodeProto) -> bool:
    """Whether GPUs compute this operator in float16; scattering adds up in float32 only."""
    if any(a.name == "reduction" and a.s not in {b"", b"none"} for a in node.attribute):
        return False
    if node.domain in {"", "ai.onnx"}:
        return node.op_type in KERNELS
    return node.domain == "com.microsoft" and node.op_type in MICROSOFT_KERNELS


_Schema = tuple[tuple[str, ...], tuple[str, ...], frozenset[str]]


def _spread(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """One name per parameter given: the last of a schema stands for all that follow."""
    if not names:
        return ("",) * count
    return tuple(names[min(place, len(names) - 1)] for place in range(count))


@cache
def _standard(domain: str, op_type: str, opset: int) -> _Schema | None:
    try:
        schema = onnx.defs.get_schema(op_type, opset, domain)
    except onnx.defs.SchemaError:
        return None
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    return (
        tuple(p.type_str for p in schema.inputs),
        tuple(p.type_str for p in schema.outputs),
        _halves(allowed),
    )


@cache
def _contributed(domain: str, op_type: str) -> _Schema | None:
    """Operators of onnxruntime's own, whose schemas onnx does not have."""
    schema = _runtime_schemas().get((domain, op_type))
    if schema is None:
        return None
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    return (
        tuple(p.typeStr for p in schema.inputs),
        tuple(p.typeStr for p in schema.outputs),
        _halves(allowed),
    )


@cache
def _runtime_schemas() -> dict[tuple[str, str], Any]:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    newest: dict[tuple[str, str], Any] = {}
    for schema in state.get_all_operator_schema():
        key = (schema.domain, schema.name)
        if key not in newest or schema.since_version > newest[key].since_version:
            newest[key] = schema
    return newest


def _halves(allowed: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, types in allowed.items() if HALF in types and FULL in types)
