"""What must hold before an alias moves, and what a person asks for when it should."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from slipway.artifacts import Value
from slipway.specs.words import Alias, Name, ProviderName

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Person = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class PolicySpec(Value):
    """What a version must show before an alias may point at it.

    Every rule is answered from the evidence that is sealed in the bundles. What is asked for and
    cannot be known from it has failed.
    """

    parity: bool = Field(
        default=True, description="Every variant of the bundle passed its checks and its budget."
    )
    metric_drop: float | None = Field(
        default=0.01,
        ge=0,
        description="How much worse the task metric may be than the current version's, measured "
        "on the same data, in the metric's own unit; empty: not compared.",
    )
    slo_p99_ms: dict[ProviderName, Annotated[float, Field(gt=0)]] = Field(
        default_factory=dict,
        description="The p99 latency in milliseconds that must be kept for sure, by provider; for "
        'example `{"cpu": 20}`.',
    )
    not_slower: bool = Field(
        default=True,
        description="Latency is not slower than the current version's: p50 and p99 of the two "
        "releases' own measurements, on each provider that both were measured on, on the same kind "
        "of machine. The two were taken at different times, so slower counts only where both "
        "confidence intervals, and the 4 % by which two processes of one model differ, leave no "
        "other answer.",
    )
    max_age_days: float | None = Field(
        default=30.0,
        gt=0,
        description="How long ago the version may have been registered; empty: any time.",
    )
    signature: bool = Field(
        default=False,
        description="The bundle carries a signature that the configured key or certificate makes "
        "valid.",
    )
    approvals: int = Field(
        default=0,
        ge=0,
        le=10,
        description="How many people other than the one who asks must approve, in Prefect's form; "
        "no override replaces them.",
    )


class Destination(Value):
    """Another environment, such as production: a registered model, perhaps on other servers."""

    name: Name | None = Field(
        default=None,
        description="The registered model there, for example `prod.digits`; the same name if "
        "empty.",
    )
    registry: str | None = Field(
        default=None,
        description="Address of the registry there, an MLflow tracking URI; the one of here if "
        "empty.",
    )
    store: str | None = Field(
        default=None,
        description="Address of the store there, a folder or s3://BUCKET/PREFIX, reached with the "
        "same credentials; the one of here if empty.",
    )

    @model_validator(mode="after")
    def _must_say_something(self) -> Self:
        if self == type(self).model_construct():
            raise ValueError("give the name, the registry or the store of the other environment")
        return self


class PromotionRequest(Value):
    """An alias of a registered model, and the version that it should point at."""

    name: Name = Field(description="The registered model's name.")
    version: int = Field(ge=1, description="The version to promote.")
    alias: Alias = Field(default="champion", description="The alias to move.")
    to: Destination | None = Field(
        default=None,
        description="Another environment in which the alias is to move: the version is copied "
        "there first, with its bundle and where it comes from. It is compared with what the alias "
        "points at there, and recorded there. If empty, the alias moves here.",
    )
    expect: int | None = Field(
        default=None,
        ge=1,
        description="The version that the alias must point at now; nothing is moved if somebody "
        "else has moved it. If empty, the one that is found when the evidence is weighed.",
    )
    policy: PolicySpec | None = Field(
        default=None,
        description="What must hold; the policy of the spec that is sealed in the bundle if empty.",
    )
    override: Reason | None = Field(
        default=None,
        description="Why the alias should move although a rule fails; it is recorded.",
    )
    reason: Reason | None = Field(default=None, description="Why it should move; it is recorded.")
    by: Person = Field(description="Who asks: a name or an address that others know.")

    @property
    def place(self) -> str:
        """Where to, as a run is named after it."""
        if self.to is None:
            return self.alias
        return f"{self.to.name or self.name}@{self.alias}"


class RollbackRequest(Value):
    """An alias that should point where it pointed before."""

    name: Name = Field(description="The registered model's name.")
    alias: Alias = Field(default="champion", description="The alias to move back.")
    expect: int | None = Field(
        default=None,
        ge=1,
        description="The version that the alias must point at now; nothing is moved if somebody "
        "else has moved it.",
    )
    reason: Reason | None = Field(default=None, description="Why it goes back; it is recorded.")
    by: Person = Field(description="Who asks: a name or an address that others know.")
