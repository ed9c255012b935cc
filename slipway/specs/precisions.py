"""Which variants are made of the exported model, and how."""

from typing import Literal

from pydantic import Field

from slipway.artifacts import Value
from slipway.specs.words import CalibrationMethod, Precision, Target


class PrecisionSpec(Value):
    """What every precision has."""

    required: bool | None = Field(
        default=None,
        description="Whether the whole release fails with this variant. If empty: when it is "
        "quantized, fails, and no other quantized variant is within the budget; set it to false to "
        "release without any.",
    )


class Fp32Spec(PrecisionSpec):
    """The exported model as it is; every other variant is compared with it."""

    required: bool = Field(default=True, description="Fail the whole release when it fails.")


class Fp32OptimizedSpec(PrecisionSpec):
    """The graph as onnxruntime optimizes it, saved for this machine's CPU; it starts sooner."""

    fusions: bool = Field(
        default=True, description="Fuse attention, too, where onnxruntime's offline tool finds it."
    )


class Fp16Spec(PrecisionSpec):
    """Half precision weights and activations; for GPUs, since CPUs compute it in float32."""

    keep_io_types: bool = Field(
        default=True, description="Keep float32 inputs and outputs, casting inside."
    )
    largest_activation: float = Field(
        default=16384.0,
        gt=0,
        le=65504,
        description="Nodes whose values reach beyond this on the calibration data stay float32; "
        "float16 ends at 65504, and other data may reach further.",
    )
    samples: int = Field(
        default=64, ge=1, description="How many calibration samples are measured at most."
    )


class Int8DynamicSpec(PrecisionSpec):
    """INT8 weights, activation ranges found at run time; MatMul and Gemm, never Conv."""

    per_channel: bool = Field(default=True, description="One weight scale per output channel.")


class Int8StaticSpec(PrecisionSpec):
    """INT8 weights and activations in QDQ form, ranges found from calibration data."""

    method: CalibrationMethod = Field(
        default="mse",
        description="How an activation's range is found from its values: `mse` takes the least "
        "squared error of 8-bit values, `minmax` all values, `percentile` cuts off the outermost, "
        "`entropy` the least Kullback-Leibler divergence of 2,048 bins (what onnxruntime calls "
        "entropy has 128 bins by default, and is minmax).",
    )
    samples: int = Field(
        default=256, ge=1, description="How many calibration samples are used at most."
    )
    per_channel: bool = Field(default=True, description="One weight scale per output channel.")
    percentile: float = Field(
        default=99.999, gt=50, le=100, description="What `percentile` keeps, in percent."
    )
    target: Target = Field(
        default="x64",
        description="The processor that will serve it; `x64` is one that may lack VNNI. It decides "
        "the types of activations and the recommended session settings.",
    )
    activations: Literal["uint8", "int8"] | None = Field(
        default=None,
        description="Activations as unsigned, or as signed and symmetric, integers; the target's "
        "if empty.",
    )
    op_types: tuple[str, ...] = Field(
        default=(),
        description="The operators to quantize; if empty, products with weights alone in a "
        "transformer, and what stands between them too in other models.",
    )
    reduce_range: bool = Field(
        default=False,
        description="7-bit weights: 6 to 7 dB worse, but they cannot saturate on any processor.",
    )


class Int4WeightsSpec(PrecisionSpec):
    """Four-bit weights of MatMul, Gemm and embeddings in blocks; for models that weights dominate.

    Needs no data. Activations stay float32.
    """

    block_size: Literal[16, 32, 64, 128, 256] = Field(
        default=32, description="Weights that share a scale; more are smaller and less exact."
    )
    symmetric: bool = Field(
        default=True, description="No zero points; without, each block spans what it holds."
    )
    embeddings: bool = Field(default=True, description="Pack tables that are looked up in, too.")
    int8_products: bool = Field(
        default=False,
        description="Let the runtime round activations to 8 bits for each product; faster on "
        "CPUs, and less exact.",
    )
    smallest_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Skip models of whose weights less than this share can be packed.",
    )


class PrecisionsSpec(Value):
    """Which variants to make; `{}` takes that precision's defaults."""

    fp32: Fp32Spec = Field(default_factory=Fp32Spec, description="The exported model; always made.")
    fp32_optimized: Fp32OptimizedSpec | None = Field(
        default=None,
        alias="fp32-optimized",
        description="The graph optimized for the CPU that makes it; not for use on others.",
    )
    fp16: Fp16Spec | None = Field(default=None, description="Half precision.")
    int8_dynamic: Int8DynamicSpec | None = Field(
        default=None, alias="int8-dynamic", description="Dynamic INT8."
    )
    int8_static: Int8StaticSpec | None = Field(
        default=None, alias="int8-static", description="Static INT8; needs calibration data."
    )
    int4_weights: Int4WeightsSpec | None = Field(
        default=None, alias="int4-weights", description="Four-bit weights in blocks."
    )

    def asked(self) -> dict[Precision, PrecisionSpec]:
        """The precisions asked for, in the order of `PRECISIONS`."""
        by_name: dict[Precision, PrecisionSpec | None] = {
            "fp32": self.fp32,
            "fp32-optimized": self.fp32_optimized,
            "fp16": self.fp16,
            "int8-dynamic": self.int8_dynamic,
            "int8-static": self.int8_static,
            "int4-weights": self.int4_weights,
        }
        return {name: spec for name, spec in by_name.items() if spec is not None}

    def baseline(self) -> dict[Precision, PrecisionSpec]:
        """The exported model alone."""
        return {"fp32": self.fp32}
