"""What was found: frozen JSON values, with the conditions that decided them.

No judgement is made here; numbers that are not finite are None, since JSON has no NaN.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue

from slipway.artifacts import ArtifactRef, Digest, Value
from slipway.specs import (
    DType,
    ExecutionMode,
    Metric,
    Optimization,
    Precision,
    Scenario,
    Tolerance,
)

Status = Literal["passed", "failed", "skipped"]
Verdict = Literal["baseline", "faster", "slower", "no difference"]


class TensorInfo(Value):
    """An input or output of a model: a dimension is a size, a name, or None when unknown."""

    name: str
    dtype: DType
    shape: tuple[int | str | None, ...]


class Finding(Value):
    """One thing noticed: a stable code for scripts, a sentence for people, and the place."""

    level: Literal["error", "warning"]
    code: str
    message: str
    place: str | None = None


class OutputNoise(Value):
    """How far the source model's own output moves with the way that it is run.

    Each is the smallest t at which both agree as rtol = t, atol = t / 10; None where not measured.
    """

    output: str
    float64: float | None = Field(default=None, description="In float64 against float32.")
    one_thread: float | None = Field(default=None, description="On one thread against many.")

    @property
    def needed(self) -> float:
        """The larger of the two."""
        return max(self.float64 or 0.0, self.one_thread or 0.0)


class ExportReport(Value):
    """The exported model with its recorded golden set."""

    model: ArtifactRef
    golden: ArtifactRef
    framework: str
    route: str = Field(description="Which converter made it, such as `torch.onnx dynamo`.")
    opset: int
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    golden_batch_sizes: tuple[int, ...]
    tools: dict[str, str] = Field(description="Versions of what decides the bytes.")
    findings: tuple[Finding, ...] = ()
    noise: tuple[OutputNoise, ...] = Field(
        default=(), description="The source's own, where its framework can be run in other ways."
    )


FailureKind = Literal[
    "unsupported-operator",
    "opset",
    "frozen-dimension",
    "dtype",
    "training-mode",
    "factory",
    "converter",
    "invalid-graph",
    "crash",
    "timeout",
    "out-of-memory",
    "unforeseen",
]


class ExportFailure(Value):
    """Why a source was not exported: of which kind that is, and what was asked of which file."""

    name: str
    framework: str
    source: str = Field(description="The file's own name.")
    source_digest: Digest
    source_bytes: int
    kind: FailureKind
    message: str = Field(description="The error's own: fact, place and way out.")
    facts: dict[str, str | int] = Field(
        default_factory=dict, description="Such as `operator`, `opset`, `needed_opset`, `input`."
    )
    opset: int
    max_opset: int
    inputs: tuple[TensorInfo, ...] = Field(default=(), description="As the spec has them.")
    tools: dict[str, str] = Field(description="Versions where the export ran.")
    python: str
    platform: str


class CheckReport(Value):
    """What the static rules and the checker said of one model."""

    passed: bool
    findings: tuple[Finding, ...] = ()
    opset: int | None = None
    ir_version: int | None = None
    operators: dict[str, int] = Field(default_factory=dict, description="Count by operator.")
    size_bytes: int = 0


class OutputParity(Value):
    """How one output compares with the source model's, over all golden cases."""

    output: str
    passed: bool
    max_abs_error: float | None = Field(description="None where an output is not finite.")
    max_rel_error: float | None
    worst_index: tuple[int, ...] = Field(default=(), description="Where the largest excess is.")
    worst_case: int = Field(default=0, description="Index of the golden case with it.")
    expected: float | str | None = Field(default=None, description="The source's value there.")
    actual: float | str | None = Field(default=None, description="The candidate's value there.")
    cosine: float | None = Field(default=None, description="Cosine similarity, flattened.")
    relative_l2: float | None = Field(default=None, description="|candidate - source| / |source|.")
    label_agreement: float | None = Field(
        default=None, description="Share of rows with the same label, for labels and class scores."
    )
    smallest_tolerance: float | None = Field(
        default=None, description="The smallest t that passes as rtol = t, atol = t / 10."
    )
    reason: str | None = None


class ParityReport(Value):
    """Whether outputs agree with the golden set within a tolerance."""

    passed: bool
    judged_by: Literal["values", "labels"] = Field(
        default="values",
        description="`values` by the tolerance; `labels` by relative L2 error and equal labels.",
    )
    tolerance: Tolerance
    relative_l2_limit: float | None = Field(default=None, description="When judged by labels.")
    label_agreement: float | None = Field(
        default=None, description="Least share of equal labels, where there are labels."
    )
    outputs: tuple[OutputParity, ...]
    cases: int = Field(description="Golden cases compared.")
    samples: int = Field(description="Rows compared.")

    @property
    def worst(self) -> OutputParity:
        """The output that fails, or else the one with the largest absolute error."""
        return max(
            self.outputs,
            key=lambda o: (not o.passed, o.max_abs_error is None, o.max_abs_error or 0.0),
        )


class MetricReport(Value):
    """The task metric on labelled data, beside its baseline's."""

    passed: bool
    name: Metric
    value: float | None
    baseline: float | None
    drop: float | None = Field(description="How much worse than the baseline; negative is better.")
    budget: float
    samples: int


class ScaleAudit(Value):
    """What the audit of quantization scales found."""

    passed: bool
    tensors: int = Field(description="Scales looked at.")
    findings: tuple[Finding, ...] = ()


class MadeFor(Value):
    """What an optimized graph fits: anywhere else it is slower, or fails."""

    provider: str
    onnxruntime: str
    architecture: str
    features: tuple[str, ...] = Field(description="The processor's, of those that decide.")


class Attempt(Value):
    """One way of quantizing that was tried, and what it cost in accuracy."""

    label: str = Field(description="Such as `int8-static` or `int8-mixed`.")
    passed: bool = Field(description="Whether it is within the budget.")
    reason: str | None = None
    float_nodes: tuple[str, ...] = Field(default=(), description="Nodes kept in float.")
    metric: float | None = Field(default=None, description="The task metric, where there is one.")
    drop: float | None = Field(default=None, description="How much worse than the baseline's.")
    relative_l2: float | None = Field(
        default=None, description="|candidate - source| / |source| of the worst output."
    )
    label_agreement: float | None = None
    size_bytes: int | None = None


class ConversionReport(Value):
    """One precision made from the exported model, or why not."""

    precision: Precision
    status: Status
    reason: str | None = None
    model: ArtifactRef | None = None
    scales: ScaleAudit | None = None
    findings: tuple[Finding, ...] = Field(
        default=(), description="What was kept, clamped or lost, by name."
    )
    made_for: MadeFor | None = Field(
        default=None, description="The machine that it is for, if only one kind is."
    )
    settings: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="The choices that decided the bytes."
    )
    tools: dict[str, str] = Field(default_factory=dict)
    attempts: tuple[Attempt, ...] = Field(
        default=(), description="What was tried on the way to the budget, the last one kept."
    )


class Divergence(Value):
    """The first place in the graph whose value departs, on the way to an output that is wrong."""

    against: Literal["source", "float64"] = Field(
        description="What it departs from: the source model's own value at that place, or what "
        "the same graph gives in float64."
    )
    node: str
    operator: str
    tensor: str = Field(description="The node's output.")
    position: int = Field(description="Its index in the graph's order.")
    nodes: int = Field(description="How many nodes the graph has.")
    agreeing: int = Field(description="Values before it that were compared, and agree.")
    case: int = Field(description="The golden case.")
    index: tuple[int, ...] = Field(default=(), description="Where in the tensor it is off most.")
    expected: float | str | None = None
    actual: float | str | None = None
    max_abs_error: float | None = None
    relative_l2: float | None = None
    source_place: str | None = Field(
        default=None, description="What the node stands for in the source model."
    )
    sentence: str


class Diagnosis(Value):
    """Why outputs disagree with the source's, where that was found out by trying it."""

    kind: Literal[
        "random",
        "training-mode",
        "frozen-dimension",
        "layout",
        "swapped-outputs",
        "dtype",
        "preprocessing",
        "optimizer",
        "threshold",
        "float32-cliff",
        "runtime",
        "tolerance",
    ]
    sentence: str = Field(description="What is wrong, where, and the way out.")
    evidence: dict[str, str | int | float] = Field(default_factory=dict)


class ExplainedParity(ParityReport):
    """Parity of a bare file, with what was found out where it failed."""

    diagnosis: Diagnosis | None = None
    divergence: Divergence | None = None


class ValidationReport(Value):
    """Check, parity and metric of one variant, and the verdict over them."""

    precision: Precision
    passed: bool
    reason: str | None = None
    check: CheckReport
    parity: ParityReport | None = None
    metric: MetricReport | None = None
    diagnosis: Diagnosis | None = Field(
        default=None, description="Of the exported model, when its parity failed."
    )
    divergence: Divergence | None = Field(
        default=None, description="Of the exported model, when its parity failed."
    )


class Estimate(Value):
    """A percentile with its confidence interval, in milliseconds; None where not estimable."""

    value_ms: float | None
    low_ms: float | None
    high_ms: float | None


class BenchmarkReport(Value):
    """One variant on one provider at one batch size, measured interleaved with its baseline."""

    precision: str = Field(description="The variant's label: its precision, or a file's name.")
    provider: str = Field(
        description="Where it ran; `cpu fallback for cuda` where that was not what was asked for."
    )
    batch_size: int
    queries: int
    p50: Estimate
    p95: Estimate
    p99: Estimate
    throughput: float = Field(description="Samples per second, single stream.")
    ratio: float | None = Field(
        default=None, description="Paired latency ratio to the baseline; below 1 is faster."
    )
    ratio_interval: tuple[float, float] | None = None
    verdict: Verdict
    meets_slo: bool | None = None
    noisy: bool = Field(
        default=False,
        description="Unstable: other load disturbed it to the end, extended as it was.",
    )
    processes: int = Field(default=1, description="Fresh processes that it was measured in.")
    disturbed: int = Field(default=0, description="How many of them other load disturbed.")


class ScenarioReport(Value):
    """One variant under a load of LoadGen's other than single-stream."""

    scenario: Scenario
    precision: str
    batch_size: int
    queries: int
    arrival_rate: float | None = Field(default=None, description="Samples per second, server.")
    p50: Estimate = Field(description="From a sample's arrival to its answer; offline, of a batch.")
    p95: Estimate
    p99: Estimate
    throughput: float = Field(description="Samples per second.")
    meets_slo: bool | None = None
    noisy: bool = False


class SessionSettings(Value):
    """How a session is opened: what a sweep recommends."""

    intra_op_threads: int
    execution_mode: ExecutionMode = "sequential"
    graph_optimization: Optimization = "all"


class SettingsTrial(Value):
    """Session settings beside those that a sweep held best until then."""

    settings: SessionSettings
    p50: Estimate
    ratio: float | None
    ratio_interval: tuple[float, float] | None
    verdict: Verdict


class SweepReport(Value):
    """What a sweep tried and what it recommends for one variant on one provider."""

    precision: str
    settings: SessionSettings
    provider_options: dict[str, str] = Field(
        default_factory=dict, description="Those of this variant, with the settings chosen."
    )
    trials: tuple[SettingsTrial, ...] = ()
    batches: tuple[ScenarioReport, ...] = Field(
        default=(), description="Offline at growing batch sizes, with the settings chosen."
    )
    best_batch_size: int | None = Field(
        default=None, description="Where throughput stops growing by 5 %."
    )
    largest_within_slo: int | None = Field(
        default=None,
        description="The largest batch size known to keep the p99 within the objective at the "
        "asked arrival rate, where both were asked for.",
    )


class Placement(Value):
    """Where a variant's nodes ran."""

    precision: str
    operators: dict[str, dict[str, int]] = Field(
        description="Operators and their number, by onnxruntime's name of the provider."
    )
    share: float = Field(description="Share of nodes on the provider that was asked for.")
    copies: int | None = Field(
        default=None, description="Copies between devices in one query; None where not known."
    )


class BenchmarkConditions(Value):
    """What a latency depends on beside the model."""

    host: str
    cpu: str
    cores: int
    intra_op_threads: int
    onnxruntime: str
    confidence: float
    load_average: float
    steal_percent: float | None
    graph_optimization: str = "all"
    execution_mode: str = "sequential"
    frequency_mhz: float | None = Field(default=None, description="Mean over the cores.")
    others_percent: float | None = Field(
        default=None, description="Share of the machine's time that other processes ran."
    )
    provider_options: dict[str, str] = Field(default_factory=dict)
    devices: dict[str, str] = Field(default_factory=dict, description="Drivers and libraries.")


class BenchmarkSuite(Value):
    """All variants on one provider, taken in one interleaved session."""

    provider: str
    status: Literal["measured", "failed", "missing environment", "crashed"] = "measured"
    reason: str | None = None
    conditions: BenchmarkConditions | None = Field(
        default=None, description="None where no machine came to measuring."
    )
    rows: tuple[BenchmarkReport, ...] = ()
    scenarios: tuple[ScenarioReport, ...] = ()
    placements: tuple[Placement, ...] = ()
    sweep: SweepReport | None = None


class VariantReport(Value):
    """Everything about one precision, gathered."""

    precision: Precision
    status: Status
    required: bool
    reason: str | None = None
    model: ArtifactRef | None = None
    conversion: ConversionReport
    validation: ValidationReport | None = None
    benchmarks: tuple[BenchmarkReport, ...] = ()


class FrontierPoint(Value):
    """One precision's accuracy, latency and size, beside the others'."""

    label: str = Field(description="The precision, or what was tried on the way to it.")
    precision: Precision
    metric: float | None = None
    loss: float | None = Field(
        description="Drop of the metric where there is one, else the relative L2 error."
    )
    size_bytes: int | None = None
    latency_ratio: float | None = Field(default=None, description="To fp32's; None: not measured.")
    within_budget: bool
    efficient: bool = Field(
        description="Whether no other point is as good in all three and better in one."
    )
    reason: str | None = None


class Frontier(Value):
    """What accuracy, latency and size can be had together on one provider."""

    provider: str | None = Field(default=None, description="None: no latency was measured.")
    measure: Metric | Literal["relative_l2"] = Field(description="What `loss` is in.")
    points: tuple[FrontierPoint, ...]


class CalibrationTally(Value):
    """How many samples the ranges are of, and what of it was done in this run."""

    samples: int
    resumed: int = Field(description="Counted before, and taken from the saved state.")
    batches: int = Field(description="Run now.")


class QuantizeReport(Value):
    """What came out: the model delivered, or the points nearest to the budget."""

    name: str = Field(description="The model's, from its file's.")
    passed: bool
    reason: str | None = None
    precision: Precision | None = Field(default=None, description="What was delivered.")
    model: Path | None = None
    digest: str | None = None
    size_bytes: int | None = None
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)
    made_for: MadeFor | None = Field(
        default=None, description="The machine that it is for, if only one kind is."
    )
    scales: ScaleAudit | None = None
    findings: tuple[Finding, ...] = ()
    calibration: CalibrationTally | None = None
    frontier: Frontier
    nearest: tuple[FrontierPoint, ...] = Field(
        default=(), description="Where nothing is within the budget: what comes nearest."
    )
    not_made: dict[Precision, str] = Field(
        default_factory=dict, description="What does not apply to the model, and why."
    )


class ReplayedVariant(Value):
    """One variant of a bundle, loaded and run on the golden set."""

    precision: Precision
    passed: bool
    reason: str | None = None
    max_abs_error: float | None = None


class SelftestReport(Value):
    """Whether every variant of a bundle loads and repeats its recorded answers."""

    passed: bool
    variants: tuple[ReplayedVariant, ...]


class VerifyReport(Value):
    """Whether a bundle's files are those that its manifest lists."""

    passed: bool
    digest: Digest | None
    files: int
    findings: tuple[Finding, ...] = ()


class Evidence(Value):
    """The part of a release that goes into its bundle: what was found of every variant."""

    name: str
    framework: str
    export: ExportReport
    variants: tuple[VariantReport, ...]
    suites: tuple[BenchmarkSuite, ...] = ()
    frontiers: tuple[Frontier, ...] = Field(
        default=(), description="Accuracy, latency and size of all that was made, per provider."
    )
    selected: dict[str, Precision] = Field(
        default_factory=dict, description="The best variant per provider under the budgets."
    )
    nearest: tuple[FrontierPoint, ...] = Field(
        default=(),
        description="What comes nearest to the budget, where no quantized variant is within it.",
    )
    passed: bool
    failures: tuple[str, ...] = ()


class Provenance(Value):
    """Where a bundle comes from: nothing that changes when the same is made again."""

    source_digest: Digest
    data_digests: dict[str, Digest] = Field(description="By role.")
    folders: tuple[str, ...] = Field(
        default=(), description="Roles of folders, whose digest is that of their list of files."
    )
    spec: dict[str, JsonValue] = Field(default_factory=dict, description="Without any place.")
    spec_digest: Digest
    tools: dict[str, str]
    python: str
    platform: str


class SealedBundle(Value):
    """A bundle in the store: its identity, and the tree that holds its files."""

    digest: Digest = Field(description="Digest of its manifest: the bundle's identity.")
    ref: ArtifactRef


class BundleReport(Value):
    """A sealed bundle unpacked on this machine."""

    path: str
    digest: Digest
    ref: ArtifactRef
    report: str = Field(description="Path of the HTML report inside the unpacked bundle.")


class RegisteredVersion(Value):
    """One version in a registry that carries a bundle's digest."""

    name: str
    version: int
    bundle_digest: Digest
    alias: str | None = None
    url: str | None = Field(default=None, description="Page of the version, where there is one.")
    created: bool = Field(default=False, description="Whether this call made it.")


class CacheReport(Value):
    """How much of a run came from the cache."""

    hits: int
    misses: int


class CostReport(Value):
    """What a run has cost on the machine that it ran on."""

    wall_s: float = Field(ge=0)
    cpu_s: float = Field(ge=0, description="Seconds of the processor, those of children included.")
    read_bytes: int = Field(description="Out of the store.")
    written_bytes: int = Field(description="Into the store; what it has already is not sent again.")


class ReleaseReport(Value):
    """What a release came to."""

    name: str
    passed: bool
    evidence: Evidence
    bundle: BundleReport | None = None
    registered: RegisteredVersion | None = None
    report: str = Field(description="Path of the HTML report on this machine.")
    cache: CacheReport = CacheReport(hits=0, misses=0)
    cost: CostReport | None = None


class CollectionReport(Value):
    """What a store holds, and what of it nothing refers to."""

    store: str
    objects: int
    size_bytes: int
    live: int = Field(description="Objects that a version or a cached result refers to.")
    unreferenced: tuple[Digest, ...] = Field(
        description="Objects that nothing refers to and that are old enough."
    )
    unreferenced_bytes: int
    folders: int = Field(
        default=0, description="Bundles that lie in the store a second time, as folders for MLflow."
    )
    unreferenced_folders: tuple[Digest, ...] = Field(
        default=(),
        description="Bundles whose folder no version refers to and that is old enough; one that "
        "was never finished is among them.",
    )
    unreferenced_folders_bytes: int = 0
    deleted: bool


class Advisory(Value):
    """What the package index says against a version of a tool."""

    tool: str
    version: str
    kind: Literal["vulnerable", "yanked", "unknown"] = Field(
        description="`unknown` where the index could not be asked."
    )
    sentence: str


class Drift(Value):
    """One thing that is not as it was when the promoted version was made."""

    kind: Literal[
        "export",
        "variant",
        "replay",
        "operators",
        "digest",
        "parity",
        "metric",
        "latency",
        "size",
        "advisory",
        "error",
    ]
    place: str = Field(description="The variant or the tool.")
    regressed: bool = Field(description="Whether it is worse than the limits allow.")
    sentence: str
    before: float | None = None
    after: float | None = None


class ToolChange(Value):
    """A tool whose version is another than the promoted version was made with."""

    tool: str
    before: str
    after: str


class RegressionReport(Value):
    """One model made again with today's tools, beside its promoted version."""

    name: str
    version: int | None = Field(
        default=None, description="The promoted version; None where there is none yet."
    )
    bundle_digest: Digest | None = None
    passed: bool
    drifts: tuple[Drift, ...] = ()
    tools: dict[str, str] = Field(default_factory=dict, description="What it was made with.")
    changed_tools: tuple[ToolChange, ...] = ()
    cause: str | None = Field(
        default=None, description="What has changed since, where something regressed."
    )
    measures: dict[str, float] = Field(
        default_factory=dict, description="What is followed over time, by name."
    )
    suites: tuple[BenchmarkSuite, ...] = ()
    cache: CacheReport = CacheReport(hits=0, misses=0)

    @property
    def regressions(self) -> tuple[Drift, ...]:
        """The drifts that fail it."""
        return tuple(drift for drift in self.drifts if drift.regressed)


class SeriesPoint(Value):
    """What was measured of a model at one time."""

    at_s: float = Field(description="Seconds since 1970.")
    measures: dict[str, float]


class NightlyReport(Value):
    """What a regression run came to, over all models."""

    passed: bool
    models: tuple[RegressionReport, ...]
    advisories: tuple[Advisory, ...] = ()
    page: str | None = Field(default=None, description="Path of the page of trends.")
    cache: CacheReport = CacheReport(hits=0, misses=0)
    cost: CostReport | None = None


class ToolchainReport(Value):
    """A regression in one toolchain."""

    toolchain: str
    passed: bool
    report: NightlyReport | None = Field(
        default=None, description="None where the environment could not be made or used."
    )
    reason: str | None = None


class MatrixReport(Value):
    """The same regression in several toolchains."""

    passed: bool
    toolchains: tuple[ToolchainReport, ...]
