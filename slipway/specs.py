"""What is asked: the release spec, as YAML, as a form in the Prefect UI, or in Python.

Every default is stated here and nowhere else. No work is done on models here.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args, get_origin
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from slipway.artifacts import Digest, Value
from slipway.errors import SourceNotFound, SpecError

Framework = Literal[
    "pytorch",
    "sklearn",
    "xgboost",
    "lightgbm",
    "catboost",
    "onnx",
    "transformers",
    "keras",
    "tensorflow",
]
Precision = Literal["fp32", "fp16", "int8-dynamic", "int8-static"]
CalibrationMethod = Literal["minmax", "percentile", "entropy"]
Metric = Literal["accuracy", "f1", "auc", "rmse", "mae", "r2", "cosine", "top5"]
DType = Literal[
    "float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "string"
]

ProviderName = Literal[
    "cpu",
    "openvino",
    "cuda",
    "tensorrt",
    "migraphx",
    "rocm",
    "directml",
    "coreml",
    "xnnpack",
    "qnn",
]
Scenario = Literal["single-stream", "offline", "server"]
Optimization = Literal["none", "basic", "extended", "all"]
ExecutionMode = Literal["sequential", "parallel"]
OptionValue = bool | int | float | str

FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
LOWER_IS_BETTER: frozenset[Metric] = frozenset({"rmse", "mae"})

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
REGISTRY_SCHEMES: Final = frozenset({"models", "runs"})
"""Addresses of models in MLflow, which says what made them."""

MIN_OPSET: Final = 11
MAX_OPSET: Final = 26
"""What onnxruntime 1.31 runs; onnx 1.23 would write 28. A test asks the runtime on both sides."""


def _check_alias(alias: str) -> str:
    if re.fullmatch(r"latest|v\d+", alias, flags=re.IGNORECASE):
        raise ValueError(f"{alias!r} is reserved; choose a name such as challenger")
    return alias


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=120)]

# MLflow keeps `latest` and `v1` for itself, and takes no dots.
Alias = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=120),
    AfterValidator(_check_alias),
]


def _check_opset(opset: int) -> int:
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise ValueError(
            f"exporters write opset {MIN_OPSET} and later, and the highest that onnxruntime runs "
            f"is {MAX_OPSET}; 18 is the default"
        )
    return opset


Opset = Annotated[
    int,
    AfterValidator(_check_opset),
    Field(json_schema_extra={"minimum": MIN_OPSET, "maximum": MAX_OPSET}),
]


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
        default=None, description="Inputs that INT8 ranges are found from; never the evaluation's."
    )
    evaluation: str | None = Field(
        default=None, description="Inputs and labels that the task metric is computed on."
    )
    labels: str = Field(default="label", description="Name of the label array or column.")


class PrecisionSpec(Value):
    """What every precision has."""

    required: bool = Field(
        default=False, description="Fail the whole release when this variant fails."
    )


class Fp32Spec(PrecisionSpec):
    """The exported model as it is; every other variant is compared with it."""

    required: bool = Field(default=True, description="Fail the whole release when it fails.")


class Fp16Spec(PrecisionSpec):
    """Half precision weights and activations; for GPUs, since CPUs compute it in float32."""

    keep_io_types: bool = Field(
        default=True, description="Keep float32 inputs and outputs, casting inside."
    )


class Int8DynamicSpec(PrecisionSpec):
    """INT8 weights, activation ranges found at run time; MatMul and Gemm, never Conv."""

    per_channel: bool = Field(default=True, description="One weight scale per output channel.")


class Int8StaticSpec(PrecisionSpec):
    """INT8 weights and activations in QDQ form, ranges found from calibration data."""

    method: CalibrationMethod = Field(
        default="minmax", description="How an activation's range is found from its values."
    )
    samples: int = Field(
        default=256, ge=1, description="How many calibration samples are used at most."
    )
    per_channel: bool = Field(default=True, description="One weight scale per output channel.")
    percentile: float = Field(
        default=99.999, gt=50, le=100, description="What `percentile` keeps, in percent."
    )


class PrecisionsSpec(Value):
    """Which variants to make; `{}` takes that precision's defaults."""

    fp32: Fp32Spec = Field(default_factory=Fp32Spec, description="The exported model; always made.")
    fp16: Fp16Spec | None = Field(default=None, description="Half precision.")
    int8_dynamic: Int8DynamicSpec | None = Field(
        default=None, alias="int8-dynamic", description="Dynamic INT8."
    )
    int8_static: Int8StaticSpec | None = Field(
        default=None, alias="int8-static", description="Static INT8; needs calibration data."
    )

    def asked(self) -> dict[Precision, PrecisionSpec]:
        """The precisions asked for, in the order of `PRECISIONS`."""
        by_name: dict[Precision, PrecisionSpec | None] = {
            "fp32": self.fp32,
            "fp16": self.fp16,
            "int8-dynamic": self.int8_dynamic,
            "int8-static": self.int8_static,
        }
        return {name: spec for name, spec in by_name.items() if spec is not None}

    def baseline(self) -> dict[Precision, PrecisionSpec]:
        """The exported model alone."""
        return {"fp32": self.fp32}


class Tolerance(Value):
    """An output passes where |candidate - reference| <= atol + rtol * |reference|, everywhere."""

    rtol: float = Field(default=1e-4, ge=0, description="Relative part.")
    atol: float = Field(default=1e-5, ge=0, description="Absolute part.")


class ParitySpec(Value):
    """Tolerances by precision; INT8 is judged by the task metric where there is one."""

    fp32: Tolerance = Field(default_factory=Tolerance, description="For the exported model.")
    fp16: Tolerance = Field(
        default_factory=lambda: Tolerance(rtol=1e-2, atol=1e-2), description="For half precision."
    )
    label_agreement: float = Field(
        default=0.99,
        ge=0,
        le=1,
        description="Share of golden rows whose label must agree, for classifiers and for INT8 "
        "without labelled data.",
    )
    int8_relative_error: float = Field(
        default=0.1,
        gt=0,
        description="Without labelled data, the largest relative L2 error of an INT8 variant.",
    )

    def for_precision(self, precision: Precision) -> Tolerance:
        """The tolerance that applies to a precision's raw outputs."""
        return self.fp32 if precision == "fp32" else self.fp16


class BudgetSpec(Value):
    """What a variant may cost."""

    metric_drop: float = Field(
        default=0.01,
        ge=0,
        description="How much worse the task metric may be than the fp32 variant's, in the "
        "metric's own unit.",
    )


class SweepSpec(Value):
    """A search for the session settings and the batch size that serve a model best."""

    session: bool = Field(
        default=True,
        description="Try intra-op threads, execution modes and graph optimisation levels, one "
        "after the other, and keep what is faster for sure.",
    )
    batch: bool = Field(
        default=True,
        description="Double the batch size until throughput grows by less than 5 %.",
    )
    max_batch_size: int = Field(default=64, ge=1, description="Where doubling ends at the latest.")


class BenchmarkSpec(Value):
    """Where and how variants are measured."""

    providers: tuple[ProviderName, ...] = Field(
        default=("cpu",), description="Execution providers to measure on."
    )
    provider_options: dict[ProviderName, dict[str, OptionValue]] = Field(
        default_factory=dict,
        description="Options by provider, over those that it is started with by default; for "
        'example `{"cuda": {"device_id": 1}}`.',
    )
    min_provider_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="The benchmark on a provider fails where a smaller share of a variant's nodes "
        "ran on it than this; 0 only reports it.",
    )
    scenarios: tuple[Scenario, ...] = Field(
        default=("single-stream",),
        min_length=1,
        description="MLPerf LoadGen's: single-stream is latency, one query after the other; "
        "offline is throughput, over growing batches; server is latency under Poisson arrivals.",
    )
    arrival_rate: float | None = Field(
        default=None, gt=0, description="Samples per second that arrive in the server scenario."
    )
    batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1,), min_length=1, description="Batch sizes to measure."
    )
    intra_op_threads: int | None = Field(
        default=None, ge=1, description="Threads inside an operator; all allotted cores if empty."
    )
    processes: int = Field(
        default=7,
        ge=1,
        le=50,
        description="Fresh processes that the queries are spread over: memory layout alone makes "
        "two processes of one model differ by some percent.",
    )
    percentile: Literal[90, 95, 99] = Field(
        default=99,
        description="The highest percentile that is wanted. It decides how many queries are run: "
        "64, 130 or 662.",
    )
    queries: int | None = Field(
        default=None,
        ge=20,
        description="Queries per variant and batch size, in place of what the percentile needs; "
        "with fewer, it is reported as not estimable.",
    )
    max_seconds: float = Field(
        default=20.0,
        gt=0,
        description="Time budget per variant and batch size; fewer queries run if it ends first.",
    )
    slo_p99_ms: float | None = Field(
        default=None, gt=0, description="The p99 latency at batch size 1 that serving needs."
    )
    sweep: SweepSpec | None = Field(
        default=None,
        description="Search session settings and batch size for the best variant; `{}` takes the "
        "defaults. What is found goes into the bundle as the recommended settings.",
    )
    fresh: bool = Field(
        default=False, description="Measure again even where nothing changed on this machine."
    )

    @model_validator(mode="after")
    def _arrivals_have_a_rate(self) -> Self:
        if "server" in self.scenarios and self.arrival_rate is None:
            raise ValueError(
                "the server scenario needs arrival_rate, the samples per second that arrive"
            )
        return self


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
            raise SpecError(f"{where}: " + "\n".join(_explain(error, cls))) from error


class _SpecLoader(yaml.SafeLoader):
    """Plain YAML, in which a key that is there twice is an error and not the last one's."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401 - yaml's node
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1 and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {twice!r} is there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


PATH_FIELDS = (
    ("source", "uri"),
    ("data", "golden"),
    ("data", "calibration"),
    ("data", "evaluation"),
)


def load_spec(path: Path) -> ReleaseSpec:
    """Read a YAML spec; relative paths in it are resolved against its folder.

    Raises:
        SourceNotFound: when there is no such file.
        SpecError: when it is no YAML or breaks the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise SourceNotFound(f"no spec at {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} cannot be read as text: {error}") from error
    try:
        raw = yaml.load(text, Loader=_SpecLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.YAMLError as error:
        raise SpecError(f"{path} is not YAML: {error}") from error
    if isinstance(raw, dict) and isinstance(raw.get("precisions"), dict):
        # In YAML, `fp16:` with nothing behind it is an entry; in JSON, null is none.
        raw["precisions"] = {k: {} if v is None else v for k, v in raw["precisions"].items()}
    spec = ReleaseSpec.from_mapping(raw, where=str(path))
    return resolve_paths(spec, path.resolve().parent, where=str(path))


def resolve_paths(spec: ReleaseSpec, folder: Path, *, where: str = "spec") -> ReleaseSpec:
    """A copy of the spec whose relative paths stand on a folder.

    Raises:
        SpecError: when two paths that must differ turn out to be one.
    """
    raw = spec.model_dump(exclude_unset=True)
    for section, field in PATH_FIELDS:
        if raw.get(section, {}).get(field):
            raw[section][field] = _resolve(raw[section][field], folder)
    if raw["source"].get("factory"):
        file, _, name = raw["source"]["factory"].rpartition(":")
        if file.endswith(".py"):
            raw["source"]["factory"] = f"{_resolve(file, folder)}:{name}"
    if raw.get("assets"):
        raw["assets"] = [_resolve(asset, folder) for asset in raw["assets"]]
    return ReleaseSpec.from_mapping(raw, where=where)


def scheme_of(uri: str) -> str:
    """`file` for a path, else what stands before `://` (or before `:/`, as MLflow writes it)."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else "file"


def local_path(uri: str) -> Path:
    """The path that a plain path or a file:// address names; the latter's %20 is a space.

    Raises:
        SpecError: for any other scheme, and for a file:// address of another host.
    """
    scheme = scheme_of(uri)
    if scheme != "file":
        raise SpecError(f"{uri}: a path or a file:// address is needed here, not {scheme}:")
    if not uri.lower().startswith("file:/"):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise SpecError(
            f"{uri} is no address of a file here: write file:///FOLDER/FILE, with %23 for # and "
            "%3F for ?"
        )
    path = unquote(parts.path, errors="surrogateescape")
    if "\0" in path:
        raise SpecError(f"{uri}: a path holds no NUL")
    return Path(path)


def file_name(uri: str) -> str:
    """The last part of a path or an address."""
    return local_path(uri).name if scheme_of(uri) == "file" else Path(uri).name


def _resolve(uri: str, folder: Path) -> str:
    return uri if _SCHEME.match(uri) else str(folder / uri)


def _explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    lines = []
    for mistake in error.errors():
        place = [str(part) for part in mistake["loc"]]
        dotted = ".".join(place) or "the spec"
        if mistake["type"] == "extra_forbidden":
            guess = _nearest_field(model, place)
            hint = f"; did you mean {guess!r}?" if guess else ""
            lines.append(f"{dotted}: no such key{hint}")
        elif mistake["type"] == "missing":
            lines.append(f"{dotted}: missing")
        else:
            message = mistake["msg"].removeprefix("Value error, ")
            given = mistake["input"]
            shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
            lines.append(f"{dotted}: {message}{shown}" if place else message)
    return lines


def _nearest_field(model: type[BaseModel], place: list[str]) -> str | None:
    """The key that a misspelt one stands nearest to, among those allowed at its place."""
    parts = iter(place[:-1])
    for part in parts:
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        if field is None:
            return None
        inner = [
            arg
            for arg in (field.annotation, *get_args(field.annotation))
            if isinstance(arg, type) and issubclass(arg, BaseModel)
        ]
        if not inner:
            return None
        if get_origin(field.annotation) is dict:
            next(parts, None)  # the entry's own name
        model = inner[0]
    names = [field.alias or name for name, field in model.model_fields.items()]
    matches = difflib.get_close_matches(place[-1], names, n=1, cutoff=0.5)
    return matches[0] if matches else None


def is_close_or_better(candidate: float, baseline: float, *, metric: Metric, drop: float) -> bool:
    """Whether a metric is at most `drop` worse than its baseline; NaN never is."""
    if math.isnan(candidate):
        return False
    worse = candidate - baseline if metric in LOWER_IS_BETTER else baseline - candidate
    return worse <= drop
