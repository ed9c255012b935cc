"""What is written down of a promotion: the rules as they were answered, and the move."""

from datetime import datetime
from typing import ClassVar, Final, Literal

from pydantic import Field

from slipway.artifacts import Digest, Sealed, Value

Outcome = Literal["passed", "failed", "not applicable"]
Kind = Literal["promote", "rollback"]

APPROVALS: Final = "approvals"
"""The rule that no override replaces."""


class RuleResult(Value):
    """One rule of a policy, with what was found and what was asked for."""

    rule: str
    outcome: Outcome
    value: str = Field(description="What was found.")
    bound: str = Field(description="What was asked for.")
    reason: str | None = Field(default=None, description="Why it failed or does not apply.")


class PolicyReport(Value):
    """All rules of a policy, answered."""

    passed: bool
    policy: Digest = Field(description="Digest of the policy's canonical JSON.")
    rules: tuple[RuleResult, ...]

    @property
    def failures(self) -> tuple[RuleResult, ...]:
        """The rules that failed."""
        return tuple(rule for rule in self.rules if rule.outcome == "failed")

    def settled(self, *, override: str | None) -> bool:
        """Whether the alias may move: all passed, or what failed is overridden and may be."""
        failed = {rule.rule for rule in self.failures}
        return not failed or (override is not None and APPROVALS not in failed)


class Approval(Value):
    """What somebody answered who was asked."""

    by: str
    approved: bool
    comment: str | None = None


class PromotionRecord(Sealed):
    """One move of an alias, for ever; the next record holds its digest."""

    KIND: ClassVar[str] = "promotion record"

    schema_version: Literal[1] = 1
    number: int = Field(ge=1, description="Its place in the log, from 1 without gaps.")
    name: str
    alias: str
    kind: Kind
    from_version: int | None = Field(description="Where the alias pointed; None: nowhere.")
    to_version: int
    to_digest: Digest = Field(description="The bundle of the version that it points to.")
    by: str
    at: datetime
    reason: str | None = None
    override: str | None = Field(default=None, description="Why a failed rule did not count.")
    approved_by: tuple[str, ...] = ()
    policy: PolicyReport | None = Field(
        default=None, description="How the rules were answered; None for a rollback."
    )
    previous: Digest | None = Field(description="Digest of the record before; None for the first.")
    nonce: str = Field(description="Random: by it a writer knows its own record.")


class PromotionReport(Value):
    """What became of a request to move an alias."""

    passed: bool
    moved: bool = Field(description="Whether this request moved it.")
    name: str
    alias: str
    kind: Kind
    from_version: int | None
    to_version: int
    by: str
    reason: str | None = None
    record: int | None = Field(default=None, description="Number of the log's record.")
    record_digest: Digest | None = None
    approved_by: tuple[str, ...] = ()
    override: str | None = None
    policy: PolicyReport | None = None

    @property
    def verdict(self) -> str:
        """It in one sentence."""
        place = f"{self.name}@{self.alias}"
        if not self.passed:
            failures = self.policy.failures if self.policy else ()
            told = "; ".join(f"{rule.rule}: {rule.reason or rule.value}" for rule in failures)
            return f"version {self.to_version} of {self.name} may not become {self.alias}: {told}"
        if not self.moved:
            return f"{place} points at version {self.to_version} already"
        came = "nowhere" if self.from_version is None else f"version {self.from_version}"
        back = " back" if self.kind == "rollback" else ""
        return f"{place} moved{back} from {came} to version {self.to_version}"
