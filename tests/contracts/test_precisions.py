"""Every precision of the table against the contract."""

from typing import ClassVar

from slipway.precisions import CONVERTERS
from slipway.protocols import AnyPrecisionSpec
from slipway.specs import (
    PRECISIONS,
    Fp16Spec,
    Fp32OptimizedSpec,
    Fp32Spec,
    Int4WeightsSpec,
    Int8DynamicSpec,
    Int8StaticSpec,
    Precision,
)
from tests.contracts.precision_contract import PrecisionContract


class TestFp32(PrecisionContract):
    precision: ClassVar[Precision] = "fp32"
    options: ClassVar[AnyPrecisionSpec] = Fp32Spec()
    signal_to_noise_db: ClassVar[float] = 200


class TestFp32Optimized(PrecisionContract):
    precision: ClassVar[Precision] = "fp32-optimized"
    options: ClassVar[AnyPrecisionSpec] = Fp32OptimizedSpec()
    signal_to_noise_db: ClassVar[float] = 100


class TestFp16(PrecisionContract):
    precision: ClassVar[Precision] = "fp16"
    options: ClassVar[AnyPrecisionSpec] = Fp16Spec()
    signal_to_noise_db: ClassVar[float] = 50


class TestFp16Throughout(PrecisionContract):
    precision: ClassVar[Precision] = "fp16"
    options: ClassVar[AnyPrecisionSpec] = Fp16Spec(keep_io_types=False)
    signal_to_noise_db: ClassVar[float] = 50
    same_dtypes: ClassVar[bool] = False


class TestInt8Dynamic(PrecisionContract):
    precision: ClassVar[Precision] = "int8-dynamic"
    options: ClassVar[AnyPrecisionSpec] = Int8DynamicSpec()
    signal_to_noise_db: ClassVar[float] = 25


class TestInt8Static(PrecisionContract):
    precision: ClassVar[Precision] = "int8-static"
    options: ClassVar[AnyPrecisionSpec] = Int8StaticSpec()
    signal_to_noise_db: ClassVar[float] = 20


class TestInt8StaticPerTensor(PrecisionContract):
    precision: ClassVar[Precision] = "int8-static"
    options: ClassVar[AnyPrecisionSpec] = Int8StaticSpec(per_channel=False)
    signal_to_noise_db: ClassVar[float] = 20


class TestInt8StaticPercentile(PrecisionContract):
    precision: ClassVar[Precision] = "int8-static"
    options: ClassVar[AnyPrecisionSpec] = Int8StaticSpec(method="percentile")
    signal_to_noise_db: ClassVar[float] = 20


class TestInt8StaticEntropy(PrecisionContract):
    precision: ClassVar[Precision] = "int8-static"
    options: ClassVar[AnyPrecisionSpec] = Int8StaticSpec(method="entropy")
    signal_to_noise_db: ClassVar[float] = 20


class TestInt4Weights(PrecisionContract):
    precision: ClassVar[Precision] = "int4-weights"
    options: ClassVar[AnyPrecisionSpec] = Int4WeightsSpec(block_size=16)
    signal_to_noise_db: ClassVar[float] = 12
    models: ClassVar[tuple[str, ...]] = ("mlp", "attention")


class TestInt4WeightsWithZeroPoints(PrecisionContract):
    precision: ClassVar[Precision] = "int4-weights"
    options: ClassVar[AnyPrecisionSpec] = Int4WeightsSpec(block_size=16, symmetric=False)
    signal_to_noise_db: ClassVar[float] = 12
    models: ClassVar[tuple[str, ...]] = ("mlp", "attention")


def test_every_precision_of_the_spec_has_a_converter() -> None:
    assert tuple(CONVERTERS) == PRECISIONS
