"""All variants of a model, made and held to what was asked: for releases and regressions."""

from dataclasses import dataclass

from slipway.reports import ConversionReport, ExportReport, ValidationReport
from slipway.specs import ReleaseSpec
from slipway.stages.making import Materials
from tasks.stages import (
    convert_model,
    explain_failure,
    export_model,
    settle_conversion,
    settle_export,
    settle_validation,
    validate_model,
)


@dataclass(frozen=True)
class Made:
    """What was made, and what was found of it."""

    exported: ExportReport
    conversions: list[ConversionReport]
    validations: list[ValidationReport]


def make_variants(spec: ReleaseSpec, materials: Materials) -> Made:
    """Export, prove the export, then make and prove every precision that is asked for."""
    exported = settle_export(
        export_model.submit(
            spec,
            source=materials.source,
            factory=materials.factory,
            golden=materials.golden,
            sample_data=materials.sample_data,
        ),
        spec,
        materials,
    )

    baseline = settle_validation(
        validate_model.submit(
            spec, "fp32", exported.model, exported.golden, materials.evaluation, baseline=None
        ),
        "fp32",
    )
    if not baseline.passed:
        baseline = explain_failure(spec, materials, exported, baseline)
    # Nothing is made of an export that is wrong.
    asked = spec.precisions.asked() if baseline.passed else spec.precisions.baseline()

    converting = {
        precision: convert_model.submit(
            spec,
            precision,
            exported.model,
            materials.calibration_for(precision),
            exported.golden,
            materials.evaluation,
            baseline=baseline.metric.value if baseline.metric else None,
        )
        for precision in asked
    }
    conversions = [settle_conversion(future, name) for name, future in converting.items()]

    validating = {
        made.precision: validate_model.submit(
            spec,
            made.precision,
            made.model,
            exported.golden,
            materials.evaluation,
            baseline=baseline.metric.value if baseline.metric else None,
        )
        for made in conversions
        if made.model is not None and made.precision != "fp32"
    }
    validations = [
        baseline,
        *(settle_validation(future, name) for name, future in validating.items()),
    ]
    return Made(exported, conversions, validations)
