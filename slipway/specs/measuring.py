"""How variants are measured: providers, and how much."""

from typing import Annotated, Literal

from pydantic import Field

from slipway.artifacts import Value
from slipway.specs.words import OptionValue, ProviderName


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
    fresh: bool = Field(
        default=False, description="Measure again even where nothing changed on this machine."
    )
