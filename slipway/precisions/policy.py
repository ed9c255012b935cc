"""How a model is quantized for the processor that will serve it: the choice, and why.

The bytes depend on the spec and the model alone, never on the machine that makes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import onnx

from slipway.errors import SpecError
from slipway.precisions import graphs
from slipway.precisions.marking import SUPPORTED, WEIGHTED, ActivationType, Scheme
from slipway.providers.recommended import X64_PRECISION
from slipway.specs import Int8StaticSpec, Target

# What a CNN or an MLP has between its weighted operators: cheap or free in INT8, and quantizing
# them saves going back to float and again to INT8.
BETWEEN: Final = (
    "Add", "Mul", "Concat", "Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Pad", "Resize",
)  # fmt: skip
NORMALIZATIONS: Final = frozenset(
    {"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization", "Attention",
     "MultiHeadAttention", "SkipLayerNormalization"}
)  # fmt: skip

_TYPES: Final[Mapping[Target, tuple[ActivationType, str]]] = {
    "x64": (
        "uint8",
        "unsigned activations and signed weights, fastest on x64; may saturate without VNNI",
    ),
    "x64-vnni": ("uint8", "unsigned activations and signed weights, the fastest pair on VNNI"),
    "arm64": ("int8", "signed and symmetric activations, which ARM's kernels want"),
    "gpu": ("int8", "signed and symmetric activations, the only ones that TensorRT takes"),
}


@dataclass(frozen=True)
class Policy:
    """A scheme, the reasons for it, and what its sessions should be told."""

    scheme: Scheme
    reasons: tuple[str, ...]
    session: Mapping[str, str] = field(default_factory=dict)


def choose_policy(model: onnx.ModelProto, options: Int8StaticSpec) -> Policy:
    """What the spec says, and for what it leaves open the target's and the model's defaults.

    Raises:
        SpecError: for operators that cannot be quantized.
    """
    activation, why_types = _TYPES[options.target]
    if options.activations is not None:
        activation, why_types = options.activations, f"{options.activations} activations, as asked"
    op_types, why_operators = _choose_op_types(model, options)
    scheme = Scheme(
        op_types,
        per_channel=options.per_channel,
        activation=activation,
        reduce_range=options.reduce_range,
    )
    reasons = [f"for {options.target}: {why_types}", why_operators]
    if options.reduce_range:
        reasons.append("7-bit weights, as asked, which cannot saturate")
    guarded = options.target == "x64" and activation == "uint8" and not options.reduce_range
    return Policy(scheme, tuple(reasons), {X64_PRECISION: "1"} if guarded else {})


def choose_op_types(model: onnx.ModelProto) -> tuple[str, ...]:
    """The operators to quantize: weighted ones alone in a transformer, else those between too.

    In a transformer the sums and products between weighted operators carry masks and outliers:
    quantizing them costs accuracy and gains no speed.
    """
    return WEIGHTED if is_transformer(model) else WEIGHTED + BETWEEN


def is_transformer(model: onnx.ModelProto) -> bool:
    """Whether the model multiplies activations with each other, or normalizes layers."""
    constant = {name for name, _ in graphs.constants(model.graph)}
    attention = any(
        node.op_type == "MatMul" and not constant.intersection(node.input)
        for node in graphs.walk_nodes(model)
    )
    return attention or bool(NORMALIZATIONS & graphs.operators(model))


def _choose_op_types(
    model: onnx.ModelProto, options: Int8StaticSpec
) -> tuple[tuple[str, ...], str]:
    if options.op_types:
        unknown = sorted(set(options.op_types) - SUPPORTED)
        if unknown:
            raise SpecError(
                f"int8-static.op_types: {', '.join(unknown)} cannot be quantized; there are "
                f"{', '.join(sorted(SUPPORTED))}"
            )
        return options.op_types, "the operators that were asked for"
    if is_transformer(model):
        return WEIGHTED, (
            "a transformer: products with weights alone, since masks and outliers lie between them"
        )
    return WEIGHTED + BETWEEN, (
        "no transformer: the operators between the weighted ones too, which saves going back to "
        "float"
    )
