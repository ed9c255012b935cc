"""What is released and on which data it is judged: the source model, its tensors, data files."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from slipway.artifacts import Digest, Value
from slipway.errors import SpecError
from slipway.specs.addresses import REGISTRY_SCHEMES, scheme_of
from slipway.specs.words import FRAMEWORKS, DType, Framework


def check_names(inputs: Iterable[str], outputs: Sequence[str]) -> None:
    """Raise ValueError where two of a graph's inputs and outputs would have one name."""
    names = [*inputs, *outputs]
    for name in outputs:
        if not name:
            raise ValueError("outputs: an output needs a name")
        if names.count(name) > 1:
            raise ValueError(
                f"outputs: {name!r} names an input or another output as well; a name stands for "
                "one tensor"
            )


class TensorSpec(Value):
    """Name, type and shape of one input: a number is a fixed size, a name a dynamic dimension."""

    dtype: DType = Field(default="float32", description="Element type.")
    shape: tuple[int | str, ...] = Field(
        description="Sizes; a name such as `batch` is a dynamic dimension.",
        examples=[["batch", 3, 224, 224]],
    )

    @field_validator("shape")
    @classmethod
    def _sizes_are_positive(cls, shape: tuple[int | str, ...]) -> tuple[int | str, ...]:
        for size in shape:
            if isinstance(size, int) and size <= 0:
                raise ValueError(f"a fixed size must be positive, not {size}; name a dynamic one")
        return shape


class SourceSpec(Value):
    """The trained model: which framework made it and where its file is."""

    framework: Framework | None = Field(
        default=None,
        description="The framework that trained the model. A model in MLflow (models:/ or runs:/) "
        "names it by itself; every other source needs it here.",
    )
    uri: str = Field(
        description="Path, file:// or s3://bucket/key address of the model file, or MLflow's "
        "models:/NAME/VERSION, models:/NAME@ALIAS or runs:/ID/path. pytorch: .pt2, .safetensors "
        "or .pt (state dict, with a factory); sklearn: .skops, or a trusted .joblib; xgboost: "
        ".json or .ubj; lightgbm: .txt; catboost: .cbm; keras: .keras, or .weights.h5 with a "
        "factory; tensorflow: a SavedModel's folder; transformers: a local folder; onnx: .onnx, "
        "or a folder with its external data.",
        examples=["model.pt2", "s3://models/digits/model.pt2", "models:/digits@champion"],
    )
    factory: str | None = Field(
        default=None,
        description="What builds the module that a state dict is loaded into: "
        "`package.module:callable`, or `path/to/file.py:callable`. It is code, "
        "named by you, and runs isolated.",
        examples=["model.py:build"],
    )
    factory_arguments: dict[str, Any] = Field(
        default_factory=dict, description="Keyword arguments for the factory, as JSON."
    )
    inputs_as_nchw: tuple[str, ...] = Field(
        default=(),
        description="Inputs that the exported model takes as NCHW though the source takes NHWC, "
        "for keras and tensorflow; the data is then NCHW as well.",
        examples=[["image"]],
    )
    trusted: bool = Field(
        default=False,
        description="Allow a format that can run code when loaded (pickle, joblib). "
        "Needs `sha256` as well.",
    )
    sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-fA-F]{64}$",
        description="SHA-256 of the file, checked before it is opened; of its manifest for a "
        "folder, as a refusal prints it.",
    )

    @property
    def digest(self) -> Digest | None:
        """The expected digest in our notation, where the spec gives one."""
        return f"sha256:{self.sha256.lower()}" if self.sha256 else None

    @property
    def known_framework(self) -> Framework:
        """The framework, of a source that was fetched.

        Raises:
            SpecError: when MLflow was not asked yet.
        """
        if self.framework is None:
            raise SpecError(f"source.framework: {self.uri} has to be fetched before it is known")
        return self.framework

    @model_validator(mode="after")
    def _framework_is_given_or_in_mlflow(self) -> Self:
        if self.framework is None and scheme_of(self.uri) not in REGISTRY_SCHEMES:
            raise ValueError(
                f"framework: missing; only a model in MLflow (models:/, runs:/) names its own. "
                f"There are {', '.join(FRAMEWORKS)}"
            )
        return self

    @model_validator(mode="after")
    def _layouts_are_tensorflows(self) -> Self:
        if self.inputs_as_nchw and self.framework not in {None, "keras", "tensorflow"}:
            raise ValueError(
                f"inputs_as_nchw is for keras and tensorflow sources; a {self.framework} model "
                "keeps the layout that it has"
            )
        return self

    @model_validator(mode="after")
    def _trust_names_its_bytes(self) -> Self:
        if self.trusted and not self.sha256:
            raise ValueError(
                "trusted: true needs sha256, so that trust is in these bytes alone; "
                "`sha256sum FILE` prints it"
            )
        return self


class DataSpec(Value):
    """The data files: npz without pickles, a folder of npy files, or parquet."""

    golden: str | None = Field(
        default=None,
        description="Inputs for parity, arrays named after the inputs. Made up when absent.",
    )
    calibration: str | None = Field(
        default=None,
        description="Inputs that INT8 ranges and fp16's overflows are found from; never the "
        "evaluation's.",
    )
    evaluation: str | None = Field(
        default=None, description="Inputs and labels that the task metric is computed on."
    )
    labels: str = Field(default="label", description="Name of the label array or column.")
