"""One release: the spec that the other files here hold the parts of."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, ValidationError, model_validator

from slipway.artifacts import Value
from slipway.errors import SpecError
from slipway.specs.judging import BudgetSpec, ParitySpec
from slipway.specs.measuring import BenchmarkSpec
from slipway.specs.mistakes import explain
from slipway.specs.precisions import PrecisionsSpec
from slipway.specs.promoting import PolicySpec
from slipway.specs.sources import DataSpec, SourceSpec, TensorSpec, check_names
from slipway.specs.words import MAX_OPSET, Alias, Metric, Name, Opset


class RegisterSpec(Value):
    """Where the release is registered."""

    name: Name = Field(description="The registered model's name.")
    alias: Alias | None = Field(
        default="challenger", description="The alias that will point at the new version."
    )


class ReleaseSpec(Value):
    """One release: everything that decides it.

    Relative paths start at the folder of the spec's file on the command line, and at the worker's
    directory when a form was filled in.
    """

    name: Name = Field(description="Name of the release, used for folders and run names.")
    source: SourceSpec = Field(description="The trained model.")
    inputs: dict[str, TensorSpec] = Field(
        default_factory=dict,
        description="The model's inputs, inferred where the framework knows them; for example "
        '`{"image": {"dtype": "float32", "shape": ["batch", 3, 224, 224]}}`.',
    )
    outputs: tuple[str, ...] = Field(
        default=(), description="Names for the outputs, in the model's order."
    )
    opset: Opset = Field(
        default=18,
        description="ONNX opset of the exported model; a source that is ONNX keeps its own unless "
        "one is given.",
    )
    max_opset: Opset | None = Field(
        default=None,
        description="How far the export may go when an operator needs a later opset than `opset`; "
        "which one was taken is reported. If empty: as far as onnxruntime runs when no `opset` is "
        "given, and no further than one that is.",
    )
    data: DataSpec = Field(default_factory=DataSpec, description="Golden and labelled data.")
    metric: Metric | None = Field(
        default=None, description="The task metric, computed on the evaluation data."
    )
    metric_output: str | None = Field(
        default=None, description="The output that the metric reads; the fitting one if empty."
    )
    precisions: PrecisionsSpec = Field(
        default_factory=PrecisionsSpec, description="Which variants to make."
    )
    parity: ParitySpec = Field(default_factory=ParitySpec, description="How equal outputs must be.")
    budget: BudgetSpec = Field(default_factory=BudgetSpec, description="What a variant may cost.")
    benchmark: BenchmarkSpec = Field(
        default_factory=BenchmarkSpec, description="Where and how variants are measured."
    )
    assets: tuple[str, ...] = Field(
        default=(), description="Files carried in the bundle: label map, tokenizer, statistics."
    )
    register_as: RegisterSpec | None = Field(
        default=None, alias="register", description="Where to register the release, if at all."
    )

    promotion: PolicySpec | None = Field(
        default=None,
        description="What must hold before an alias of the registered model is moved to this "
        "release; sealed in the bundle. The default policy if empty.",
    )

    @property
    def highest_opset(self) -> int:
        """How far an export may go: see `max_opset`."""
        if self.max_opset is not None:
            return max(self.opset, self.max_opset)
        return self.opset if "opset" in self.model_fields_set else MAX_OPSET

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        check_names(self.inputs, self.outputs)
        return self

    @model_validator(mode="after")
    def _what_is_asked_can_be_done(self) -> Self:
        if self.precisions.int8_static is not None and self.data.calibration is None:
            raise ValueError(
                "int8-static needs calibration data: set data.calibration to inputs that the "
                "model will see, or leave int8-static out"
            )
        if self.metric is not None and self.data.evaluation is None:
            raise ValueError(f"metric: {self.metric} needs data.evaluation, with labels in it")
        if self.data.calibration is not None and self.data.calibration == self.data.evaluation:
            raise ValueError(
                "data.calibration and data.evaluation are the same file: a model calibrated on "
                "its test data looks better than it is"
            )
        return self

    @classmethod
    def from_mapping(cls, raw: object, *, where: str = "spec") -> "ReleaseSpec":
        """Validate a parsed spec.

        Raises:
            SpecError: with one line per mistake: its place, what is wrong, the nearest right name.
        """
        if not isinstance(raw, Mapping):
            raise SpecError(f"{where}: expected a mapping of keys, found {type(raw).__name__}")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise SpecError(f"{where}: " + "\n".join(explain(error, cls))) from error
