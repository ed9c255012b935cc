"""From a request to a moved alias: weigh the version, move the alias, move it back."""

import secrets
import time
from datetime import UTC, datetime

from pydantic import Field

from slipway.artifacts import Digest, Value, canonical_json, digest_bytes
from slipway.packaging.stored import StoredBundle
from slipway.promotion.cases import Case, read_case, read_if_known
from slipway.promotion.moving import (
    AliasState,
    commit,
    follow,
    look,
    must_agree,
    must_be_at,
    must_find,
    rollback_target,
)
from slipway.promotion.policy import Weighing, evaluate
from slipway.promotion.records import (
    APPROVALS,
    Approval,
    Kind,
    Move,
    PolicyReport,
    PromotionRecord,
    PromotionReport,
)
from slipway.specs import PolicySpec, PromotionRequest, RollbackRequest
from slipway.stages.copying import copy_version
from slipway.stages.environments import Environment, destination, here, origin
from slipway.stages.signing import look_at_signature


class Weighed(Value):
    """A request that was held against its policy, and the move that would be recorded."""

    request: PromotionRequest
    policy: PolicySpec
    report: PolicyReport
    record: Move
    already: bool = Field(description="The alias is at that version already.")

    @property
    def wants_approvals(self) -> bool:
        """Whether people are all that is missing."""
        lacking = APPROVALS in {rule.rule for rule in self.report.failures}
        override = self.record.override
        return (
            not self.already and lacking and (override is not None or not _overridable(self.report))
        )

    @property
    def identity(self) -> Digest:
        """What people approve: this bundle in the place of that version, by these rules."""
        record = self.record
        # A copy has the number that it gets; it may be made by somebody else in the meantime.
        version = None if record.copied_from else record.to_version
        about = [record.from_version, version, record.to_digest, record.number]
        return digest_bytes(canonical_json([*about, self.report.policy, record.override]))

    @property
    def settled(self) -> bool:
        """Whether the alias may move."""
        return self.already or self.report.settled(override=self.record.override)


def weigh(request: PromotionRequest, *, approvals: tuple[Approval, ...] = ()) -> Weighed:
    """Hold a version against its policy, on the evidence in its sealed bundle.

    Raises:
        SourceNotFound: when there is no such version, or its bundle is not in the store.
        IntegrityError: when the bundle or the log is not what was written.
        AliasMoved: when the alias is not where it was expected, or log and registry disagree.
    """
    source, target = here(request.name), destination(request)
    state = look(target.store, target.registry, target.name, request.alias)
    version = must_find(source.registry.versions(source.name), source.name, request.version)
    there = (
        version if request.to is None else target.registry.find(target.name, version.bundle_digest)
    )
    already = there is not None and state.current == there.version
    if not already:
        must_agree(state)
        if request.expect is not None:
            must_be_at(state, request.expect)
    StoredBundle.of(source.store, version).verify()
    candidate = read_case(source.store, source.registry, version)
    policy = request.policy or candidate.policy or PolicySpec()
    now = time.time()
    current, unknown = None, None
    if state.current is not None:
        current, unknown = _known(target, state, state.current)
    report = evaluate(
        policy,
        Weighing(
            candidate=candidate,
            current=current,
            unknown=unknown,
            now_s=now,
            by=request.by,
            signature=look_at_signature(source.store, version.bundle_digest, source.settings),
            approvals=approvals,
        ),
    )
    move = _move(
        state,
        kind="promote",
        digest=version.bundle_digest,
        by=request.by,
        at=now,
        reason=request.reason,
    ).model_copy(
        update={
            "to_version": there.version if there else None,
            "copied_from": origin(source, version) if request.to else None,
            "override": request.override if _overridable(report) else None,
            "approved_by": tuple(answer.by for answer in approvals if answer.approved),
            "policy": report,
        }
    )
    return Weighed(request=request, policy=policy, report=report, record=move, already=already)


def move(weighed: Weighed, *, run: str | None = None) -> PromotionReport:
    """Move the alias if the weighing lets it; may be repeated with the same weighing.

    Where it is to move in another environment, the version is copied there first.

    Args:
        weighed: What was weighed.
        run: Address of the Prefect run that moves it.

    Raises:
        AliasMoved: when somebody else moved it since it was weighed.
        IntegrityError: when a copy is not what was weighed; no alias has moved then.
    """
    record, request = weighed.record, weighed.request
    target = destination(request)
    version = record.to_version
    if weighed.already:
        follow(target.store, target.registry, target.name, record.alias)
    elif weighed.settled:
        if record.copied_from is not None:
            source = here(request.name)
            version = copy_version(
                must_find(source.registry.versions(source.name), source.name, request.version),
                source=source,
                target=target,
                origin=record.copied_from,
            ).version
        assert version is not None  # noqa: S101 - for the type checker: what is no copy is there
        record = record.recorded(version, run=run)
        commit(target.store, target.registry, record)
    moved = weighed.settled and not weighed.already
    return _report(target, record, passed=weighed.settled, moved=moved)


def plan_rollback(request: RollbackRequest) -> PromotionRecord:
    """Find where the alias goes back to, and that the bundle there is whole.

    Raises:
        RequestError: when there is nothing to go back to.
        SourceNotFound: when that version or its bundle is gone.
        IntegrityError: when its bundle, or the log, is not what was written.
        AliasMoved: when the alias is not where it was expected.
    """
    place = here(request.name)
    state = look(place.store, place.registry, request.name, request.alias)
    must_agree(state)
    if request.expect is not None:
        must_be_at(state, request.expect)
    target, digest = rollback_target(state)
    version = state.must_find(target)
    if digest is not None and version.bundle_digest != digest:
        version = version.model_copy(update={"bundle_digest": digest})
    StoredBundle.of(place.store, version).verify()
    return _move(
        state,
        kind="rollback",
        digest=version.bundle_digest,
        by=request.by,
        at=time.time(),
        reason=request.reason,
    ).recorded(version.version)


def roll_back(record: PromotionRecord, *, run: str | None = None) -> PromotionReport:
    """Move the alias back as planned; may be repeated with the same plan.

    Args:
        record: What was planned.
        run: Address of the Prefect run that moves it.

    Raises:
        AliasMoved: when somebody else moved it since.
    """
    place = here(record.name)
    record = record.recorded(record.to_version, run=run)
    commit(place.store, place.registry, record)
    return _report(place, record, passed=True, moved=True)


def _overridable(report: PolicyReport) -> set[str]:
    """The rules that failed and that an override can replace."""
    return {rule.rule for rule in report.failures} - {APPROVALS}


def _known(place: Environment, state: AliasState, version: int) -> tuple[Case | None, str | None]:
    found = state.find(version)
    if found is None:
        return None, f"version {version}, where the alias points, is none that a release made"
    return read_if_known(place.store, place.registry, found)


def _move(
    state: AliasState, *, kind: Kind, digest: Digest, by: str, at: float, reason: str | None
) -> Move:
    """The next move of an alias; where to is still open."""
    return Move(
        number=len(state.records) + 1,
        name=state.name,
        alias=state.alias,
        kind=kind,
        from_version=state.current,
        to_version=None,
        to_digest=digest,
        by=by,
        at=datetime.fromtimestamp(at, UTC),
        reason=reason,
        previous=state.head.digest if state.head else None,
        nonce=secrets.token_hex(16),
    )


def _report(place: Environment, record: Move, *, passed: bool, moved: bool) -> PromotionReport:
    versions = place.registry.versions(place.name)
    made = record if isinstance(record, PromotionRecord) else None
    return PromotionReport(
        passed=passed,
        moved=moved,
        name=record.name,
        alias=record.alias,
        kind=record.kind,
        from_version=record.from_version,
        to_version=record.to_version,
        copied_from=record.copied_from,
        url=next((v.url for v in versions if v.version == record.to_version), None),
        by=record.by,
        reason=record.reason,
        record=made.number if made else None,
        record_digest=made.digest if made else None,
        approved_by=record.approved_by,
        override=record.override,
        policy=record.policy,
    )
