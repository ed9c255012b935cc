"""How variants are measured: providers, scenarios, how much, and what is searched for."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from slipway.artifacts import Value
from slipway.specs.words import OptionValue, PoolName, ProviderName, Scenario


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
    pools: dict[ProviderName, PoolName] = Field(
        default_factory=dict,
        description="Prefect work pools by provider, whose workers measure on it; for example "
        '`{"openvino": "slipway-openvino"}`. Providers without one are measured where the release '
        "runs.",
    )
    pool_start_seconds: float = Field(
        default=600.0,
        gt=0,
        description="How long a pool may leave a benchmark waiting for a worker before it is "
        "given up and reported as missing.",
    )
    pool_run_seconds: float = Field(
        default=3600.0,
        gt=0,
        description="How long a worker may take for a benchmark, waiting for its device included, "
        "before it is cancelled and reported as crashed.",
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
    def _pools_are_of_providers(self) -> Self:
        for provider in self.pools:
            if provider not in self.providers:
                raise ValueError(
                    f"pools.{provider}: nothing is measured on {provider}; add it to "
                    f"benchmark.providers, which has {', '.join(self.providers)}"
                )
        return self

    @model_validator(mode="after")
    def _arrivals_have_a_rate(self) -> Self:
        if "server" in self.scenarios and self.arrival_rate is None:
            raise ValueError(
                "the server scenario needs arrival_rate, the samples per second that arrive"
            )
        return self
