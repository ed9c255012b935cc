"""The seams: what an exporter, a precision, a store and a registry must do to be one.

Requests and results of the isolated stages are here too, since both sides of the process boundary
need them. Paths in them are inside the child's scratch folder or read-only inputs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field

from slipway.artifacts import ArtifactRef, Digest, Value
from slipway.reports import (
    Attempt,
    Finding,
    MadeFor,
    OutputNoise,
    RegisteredVersion,
    ScaleAudit,
    SeriesPoint,
    Status,
    TensorInfo,
)
from slipway.specs import (
    MIN_OPSET,
    BenchmarkSpec,
    BudgetSpec,
    Fp16Spec,
    Fp32OptimizedSpec,
    Fp32Spec,
    Int4WeightsSpec,
    Int8DynamicSpec,
    Int8StaticSpec,
    Metric,
    Opset,
    ParitySpec,
    Precision,
    ProviderName,
    SourceSpec,
    TensorSpec,
    Tolerance,
)

AnyPrecisionSpec = (
    Fp32Spec | Fp32OptimizedSpec | Fp16Spec | Int8DynamicSpec | Int8StaticSpec | Int4WeightsSpec
)


class ExportRequest(Value):
    """What an exporter is given: verified local files and the part of the spec that it reads."""

    source: SourceSpec
    path: Path = Field(description="The source file, already checked against its digest.")
    factory_path: Path | None = Field(default=None, description="The factory's file, if a file.")
    inputs: dict[str, TensorSpec] = Field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    opset: Opset = 18
    max_opset: Opset = Field(
        default=MIN_OPSET, description="How far to go when an operator needs a later opset."
    )
    keep_opset: bool = Field(
        default=False,
        description="No opset was asked for: a source that is ONNX already keeps its own.",
    )
    golden_inputs: Path | None = None
    sample_data: Path | None = Field(
        default=None, description="Data that input names and dtypes may be inferred from."
    )
    labels: str = "label"
    seed: int = 0


class ExportResult(Value):
    """What an exporter leaves in its scratch folder."""

    model: Path = Field(description="model.onnx; external data beside it.")
    golden: Path = Field(description="The golden set, as `GoldenSet.save` writes it.")
    route: str
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    golden_batch_sizes: tuple[int, ...]
    tools: dict[str, str]
    findings: tuple[Finding, ...] = ()
    noise: tuple[OutputNoise, ...] = ()


class TraceRequest(Value):
    """A source to run once more, recording what it computes inside: after parity failed."""

    export: ExportRequest
    route: str = Field(description="The route that made the exported model.")
    golden: Path = Field(description="The golden set that was recorded from it.")
    case: int = Field(description="The golden case to run.")


class TraceStep(Value):
    """One value that the source computes on its way."""

    tensor: str = Field(description="The exported graph's name for it, where there is one.")
    place: str = Field(description="What makes it in the source, for people.")
    makes_from: tuple[int, ...] = Field(
        default=(), description="The steps whose values it takes, as far as that is known."
    )


class TraceResult(Value):
    """What a source computes inside for one golden case, and whether it can be trusted to.

    Values are in an npz under the steps' numbers.
    """

    case: int
    matched: Literal["names", "values"] = Field(
        description="How steps are found in the exported graph."
    )
    steps: tuple[TraceStep, ...]
    values: Path
    training: tuple[str, ...] = Field(
        default=(), description="Places in the source that are in training mode."
    )
    unstable: str | None = Field(
        default=None, description="An output that two runs on the same inputs give differently."
    )
    batch_dependent: str | None = Field(
        default=None, description="An output whose rows change with the other rows of a batch."
    )


class Tracer(Protocol):
    """Runs a source on one golden case as its exporter does, recording the values inside.

    Raises:
        SlipwayError: as its exporter does.
    """

    def __call__(self, request: TraceRequest, scratch: Path) -> TraceResult:
        """Trace; files are written inside `scratch` only."""
        ...


class Exporter(Protocol):
    """Loads a source safely, records the golden set from it, and converts it to ONNX.

    Raises:
        UnreadableModel, UntrustedSource, ExportFailed, DataError, EnvironmentMissing.
    """

    def __call__(self, request: ExportRequest, scratch: Path) -> ExportResult:
        """Export; files are written inside `scratch` only."""
        ...


class ValidateRequest(Value):
    """What validation is given: a variant, the golden set, and how it is judged."""

    precision: Precision
    model: Path
    golden: Path
    parity: ParitySpec
    budget: BudgetSpec
    metric: Metric | None = None
    metric_output: str | None = None
    evaluation: Path | None = None
    labels: str = "label"
    baseline: float | None = Field(default=None, description="The fp32 variant's metric.")


class ConvertRequest(Value):
    """What a precision converter is given."""

    precision: Precision
    model: Path
    options: AnyPrecisionSpec = Field(description="The precision's part of the spec.")
    calibration: Path | None = None
    judge: ValidateRequest | None = Field(
        default=None,
        description="How candidates are judged where the precision can trade speed for accuracy; "
        "its model is not looked at.",
    )


class ConvertResult(Value):
    """A converted model, or a reason why this precision does not apply or came out unusable."""

    status: Status
    reason: str | None = None
    model: Path | None = None
    scales: ScaleAudit | None = None
    made_for: MadeFor | None = Field(
        default=None, description="The machine that it is for, if only one kind is."
    )
    findings: tuple[Finding, ...] = ()
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    tools: dict[str, str] = Field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()


class CalibrateRequest(Value):
    """A share of the calibration samples to count, for a conversion to int8-static to come."""

    model: Path
    calibration: Path
    options: Int8StaticSpec
    number: int = Field(default=1, ge=1, description="Which share, from 1.")
    of: int = Field(default=1, ge=1, description="Of how many.")


class CalibrateResult(Value):
    """How much the state in the scratch folder holds."""

    samples: int
    planned: int = Field(description="Of all shares together.")


class Converter(Protocol):
    """Makes one precision from an fp32 ONNX model, writing inside `scratch` only."""

    def __call__(self, request: ConvertRequest, scratch: Path) -> ConvertResult:
        """Convert. A precision that does not apply is `skipped` with the reason, not an error."""
        ...


class BenchmarkRequest(Value):
    """What a benchmark is given: the variants and inputs to run them with."""

    models: dict[str, Path] = Field(description="By label, such as the precision; baseline first.")
    golden: Path = Field(description="Inputs are taken from the golden set, tiled to the batch.")
    provider: str = "cpu"
    options: BenchmarkSpec


class MeasuredModel(Value):
    """One variant to measure."""

    label: str = Field(description="What its rows are called: a precision, as a rule.")
    model: ArtifactRef


class BenchmarkJob(Value):
    """What a worker is given to measure on one provider: references, and how."""

    name: str = Field(description="The model's name.")
    provider: ProviderName = Field(default="cpu", description="The provider to measure on.")
    models: tuple[MeasuredModel, ...] = Field(
        min_length=1, description="The variants, the baseline first."
    )
    golden: ArtifactRef = Field(description="Inputs are taken from the golden set.")
    options: BenchmarkSpec = Field(description="How they are measured.")

    @property
    def pool(self) -> str | None:
        """The work pool whose workers measure; None for the machine that the release runs on."""
        return self.options.pools.get(self.provider)


class CheckRequest(Value):
    """A model to check."""

    model: Path


class ParityRequest(Value):
    """A model and recorded answers to compare it with."""

    model: Path
    golden: Path
    tolerance: Tolerance


class RecordRequest(Value):
    """A model whose own outputs on data are to be recorded."""

    model: Path
    data: Path
    rows: int = Field(default=512, description="How many at most, evenly spaced.")
    what: str = Field(default="data", description="The data, for messages.")


class RecordResult(Value):
    """A golden set of the model itself."""

    golden: Path


class SelftestRequest(Value):
    """An unpacked bundle."""

    bundle: Path


class FilesBenchmarkRequest(Value):
    """Bare model files to compare, the baseline first."""

    models: dict[str, Path]
    golden: Path | None = None
    dimensions: dict[str, int] = Field(
        default_factory=dict, description="Sizes of named dimensions, for inputs that are made up."
    )
    provider: str = "cpu"
    options: BenchmarkSpec


class StoredObject(Value):
    """One object of a store."""

    digest: Digest
    size_bytes: int = Field(ge=0)
    modified_s: float = Field(
        description="When it was written or last found there by a writer, in seconds since 1970."
    )


class Store(Protocol):
    """Bytes by digest. Every read re-hashes; nothing half-written is ever visible.

    Beside them, small records by name, each written once and never changed: of all who would write
    one, the store lets exactly one. Records are no objects, and `listing` does not tell them.

    Errors: `SourceNotFound` for a digest that is not there, `IntegrityError` for bytes that do not
    have their digest, `StoreUnavailable` for what may pass.
    """

    uri: str

    def put_file(self, path: Path, *, media_type: str) -> ArtifactRef:
        """Store a file's bytes; storing the same bytes again is cheap and changes nothing."""
        ...

    def put_bytes(self, data: bytes, *, media_type: str) -> ArtifactRef:
        """Store bytes from memory."""
        ...

    def fetch_file(self, digest: str, target: Path) -> None:
        """Copy bytes to a new file at `target`, hashing while copying; never a link.

        On a mismatch nothing is left at `target`.
        """
        ...

    def read_bytes(self, digest: str) -> bytes:
        """The bytes, hashed after reading; for small things such as tree manifests."""
        ...

    def contains(self, digest: str) -> bool:
        """Whether the bytes are there; does not read them."""
        ...

    def listing(self) -> Iterator[StoredObject]:
        """All objects, in no order."""
        ...

    def digests(self) -> Iterator[str]:
        """All digests, in no order."""
        ...

    def delete(self, digest: str) -> None:
        """Forget the bytes; forgetting what is not there is fine."""
        ...

    def sweep(self, before: float) -> int:
        """Remove what writers left that were killed before a time; how many they were.

        Args:
            before: Seconds since 1970.
        """
        ...

    def folders(self) -> Iterator[StoredObject]:
        """Trees that lie in the store a second time, as folders of plain names for other readers.

        By the digest that each was given; none where the store lays nothing out.
        """
        ...

    def remove_folder(self, digest: str, *, before: float) -> bool:
        """Remove such a folder unless it was written since; whether it was removed.

        Args:
            digest: What names it.
            before: Seconds since 1970.
        """
        ...

    def create_record(self, name: str, data: bytes) -> bool:
        """Write a record unless there is one of that name; whether the bytes there are now these.

        The bytes should be the writer's own, such as by a random number in them: then True means
        that this writer was the first, even where an answer of the service was lost on its way.

        Raises:
            RequestError: for a name that is no plain relative path.
            EnvironmentMissing: where the place cannot let exactly one writer win.
        """
        ...

    def read_record(self, name: str) -> bytes:
        """A record's bytes; `SourceNotFound` where there is none."""
        ...

    def records(self, folder: str) -> tuple[str, ...]:
        """Names of all records below a folder, in order."""
        ...


class VersionAbout(Value):
    """What a registry knows of a version beside its bundle."""

    registered_s: float = Field(description="When it was made, in seconds since 1970.")
    tags: dict[str, str] = Field(default_factory=dict)
    description: str = ""


class Measurement(Value):
    """One number of a release, as registries plot it."""

    name: str
    value: float
    step: int = Field(default=0, description="The batch size, for what depends on it.")


class VariantRecord(Value):
    """What a registry shows of one variant, under names that are the same for all of them."""

    name: str = Field(description="The folder below the bundle's `variants`.")
    params: dict[str, str] = Field(default_factory=dict)
    metrics: tuple[Measurement, ...] = ()


class Registration(Value):
    """What a registry records about one bundle."""

    name: str
    bundle: Path = Field(description="The unpacked bundle, with its MLmodel file.")
    bundle_digest: str
    bundle_uri: str
    files_uri: str | None = Field(
        default=None,
        description="Where the bundle's files lie as a folder that every reader of the registry "
        "can reach, if there is such a place.",
    )
    alias: str | None = None
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    params: dict[str, str] = Field(default_factory=dict)
    metrics: tuple[Measurement, ...] = ()
    variants: tuple[VariantRecord, ...] = ()
    datasets: dict[str, Digest] = Field(default_factory=dict, description="By their role.")
    source_uri: str | None = Field(
        default=None, description="The model that it was made from, where that is in a registry."
    )
    evidence: tuple[Path, ...] = Field(
        default=(), description="Files shown beside the version, such as the HTML report."
    )
    plots: dict[str, str] = Field(default_factory=dict, description="SVG by file name.")


class Registry(Protocol):
    """Names, versions and aliases. Registration is exactly-once by bundle digest.

    Errors: `RegistryUnavailable` for what may pass, `SourceNotFound` for an unknown name, version
    or alias, `RequestError` for a name that the registry cannot hold.
    """

    uri: str

    def register(self, registration: Registration) -> RegisteredVersion:
        """Make a version for the bundle, or find the one that is there; then set the alias."""
        ...

    def find(self, name: str, bundle_digest: str) -> RegisteredVersion | None:
        """The version that carries this digest; the smallest one if there are several."""
        ...

    def resolve(self, name: str, alias: str) -> RegisteredVersion:
        """The version that an alias points to."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        ...

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        """All versions, oldest first; none for an unknown name."""
        ...

    def names(self) -> tuple[str, ...]:
        """All names under which something is registered, in order."""
        ...

    def record(self, name: str, series: str, point: SeriesPoint) -> None:
        """Add a point to one of a model's series of measurements.

        A name under which nothing is registered may have series as well.
        """
        ...

    def recorded(self, name: str, series: str) -> tuple[SeriesPoint, ...]:
        """The points of a series, oldest first; none where nothing was recorded."""
        ...

    def aliases(self, name: str) -> Mapping[str, int]:
        """All aliases and the versions that they point to; none for an unknown name."""
        ...

    def about(self, name: str, version: int) -> VersionAbout:
        """When a version was made, its tags and its description."""
        ...

    def annotate(
        self, name: str, version: int, *, tags: Mapping[str, str], description: str | None = None
    ) -> None:
        """Set tags of a version, and its description where one is given."""
        ...
