"""What is written down of a promotion: the rules as they were answered, and the move."""

import re
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


class CopiedFrom(Value):
    """The version of another environment that one was copied from; the bundle is the same."""

    registry: str = Field(description="Address of the registry that it is in, without a password.")
    name: str
    version: int
    record: "PromotionRecord | None" = Field(
        default=None,
        description="The last move of an alias to it there, with how its policy was answered, and "
        "with where that version was copied from; None where no alias was moved to it.",
    )


def without_password(uri: str) -> str:
    """An address as it may be written down for ever."""
    return re.sub(r"^([a-z]+://)[^/@]*@", r"\1", uri)


def _is_none(value: object) -> bool:
    """Records that were written before there was such a field have no place for it."""
    return value is None


class Move(Value):
    """A move of an alias, as it is weighed: what is recorded when it is made."""

    number: int = Field(ge=1, description="Its place in the log, from 1 without gaps.")
    name: str
    alias: str
    kind: Kind
    from_version: int | None = Field(description="Where the alias pointed; None: nowhere.")
    to_version: int | None = Field(description="Where it will point; None: a copy, not yet made.")
    to_digest: Digest = Field(description="The bundle of the version that it points to.")
    copied_from: CopiedFrom | None = Field(
        default=None, exclude_if=_is_none, description="What the version is a copy of, if it is."
    )
    by: str
    at: datetime
    run: str | None = Field(
        default=None, exclude_if=_is_none, description="Address of the Prefect run that moved it."
    )
    reason: str | None = None
    override: str | None = Field(default=None, description="Why a failed rule did not count.")
    approved_by: tuple[str, ...] = ()
    policy: PolicyReport | None = Field(
        default=None, description="How the rules were answered; None for a rollback."
    )
    previous: Digest | None = Field(description="Digest of the record before; None for the first.")
    nonce: str = Field(description="Random: by it a writer knows its own record.")

    def recorded(self, to_version: int, *, run: str | None = None) -> "PromotionRecord":
        """The record of the move, now that its version is known, and the run that makes it."""
        known = {"to_version": to_version, "run": run}
        return PromotionRecord.model_validate({**dict(self), **known})


class PromotionRecord(Move, Sealed):
    """One move of an alias, for ever; the next record holds its digest."""

    KIND: ClassVar[str] = "promotion record"

    schema_version: Literal[1] = 1
    to_version: int


class PromotionReport(Value):
    """What became of a request to move an alias."""

    passed: bool
    moved: bool = Field(description="Whether this request moved it.")
    name: str
    alias: str
    kind: Kind
    from_version: int | None
    to_version: int | None = Field(description="None: a copy that was not made.")
    copied_from: CopiedFrom | None = None
    url: str | None = Field(default=None, description="Page of the version, where there is one.")
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
        version = f"version {self.to_version}"
        copied = self.copied_from
        if not self.passed:
            failures = self.policy.failures if self.policy else ()
            told = "; ".join(f"{rule.rule}: {rule.reason or rule.value}" for rule in failures)
            if copied is not None:
                asked = f"version {copied.version} of {copied.name} may not become {place}"
            else:
                asked = f"{version} of {self.name} may not become {self.alias}"
            return f"{asked}: {told}"
        if copied is not None:
            version += f", a copy of version {copied.version} of {copied.name}"
        if not self.moved:
            return f"{place} points already at {version}"
        came = "nowhere" if self.from_version is None else f"version {self.from_version}"
        back = " back" if self.kind == "rollback" else ""
        return f"{place} moved{back} from {came} to {version}"
