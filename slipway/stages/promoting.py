"""From a request to a moved alias: weigh the version, move the alias, move it back."""

import secrets
import time
from datetime import UTC, datetime

from pydantic import Field

from slipway.artifacts import Digest, Value, canonical_json, digest_bytes
from slipway.packaging.stored import StoredBundle
from slipway.promotion.cases import Case, read_case, read_if_known
from slipway.promotion.log import logged_aliases
from slipway.promotion.moving import (
    AliasState,
    commit,
    follow,
    look,
    must_agree,
    must_be_at,
    rollback_target,
)
from slipway.promotion.policy import Weighing, evaluate
from slipway.promotion.records import (
    APPROVALS,
    Approval,
    Kind,
    PolicyReport,
    PromotionRecord,
    PromotionReport,
)
from slipway.protocols import Registry, Store
from slipway.registries import open_registry
from slipway.reports import RegisteredVersion
from slipway.settings import Settings
from slipway.specs import PolicySpec, PromotionRequest, RollbackRequest
from slipway.stages.signing import look_at_signature
from slipway.stores import open_store


class Weighed(Value):
    """A request that was held against its policy, and the record that would be written."""

    policy: PolicySpec
    report: PolicyReport
    record: PromotionRecord
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
        about = [record.from_version, record.to_version, record.to_digest, record.number]
        return digest_bytes(canonical_json([*about, self.report.policy, record.override]))

    @property
    def settled(self) -> bool:
        """Whether the alias may move."""
        return self.already or self.report.settled(override=self.record.override)


class AliasHistory(Value):
    """Where an alias pointed, when, and who moved it."""

    alias: str
    current: int | None = Field(description="The version that the log names, or the registry.")
    pointed: int | None = Field(description="The version that the registry's alias points at.")
    drift: str | None
    repaired: bool = False
    records: tuple[PromotionRecord, ...]


class HistoryReport(Value):
    """The history of a registered model's aliases."""

    passed: bool = Field(description="Whether log and registry agree for all of them.")
    name: str
    aliases: tuple[AliasHistory, ...]


def weigh(request: PromotionRequest, *, approvals: tuple[Approval, ...] = ()) -> Weighed:
    """Hold a version against its policy, on the evidence in its sealed bundle.

    Raises:
        SourceNotFound: when there is no such version, or its bundle is not in the store.
        IntegrityError: when the bundle or the log is not what was written.
        AliasMoved: when the alias is not where it was expected, or log and registry disagree.
    """
    store, registry = _places()
    state = look(store, registry, request.name, request.alias)
    version = state.must_find(request.version)
    already = state.current == request.version
    if not already:
        must_agree(state)
        if request.expect is not None:
            must_be_at(state, request.expect)
    StoredBundle.of(store, version).verify()
    candidate = read_case(store, registry, version)
    policy = request.policy or candidate.policy or PolicySpec()
    now = time.time()
    current, unknown = None, None
    if state.current is not None:
        current, unknown = _known(store, registry, state, state.current)
    report = evaluate(
        policy,
        Weighing(
            candidate=candidate,
            current=current,
            unknown=unknown,
            now_s=now,
            by=request.by,
            signature=look_at_signature(store, version.bundle_digest, Settings()),
            approvals=approvals,
        ),
    )
    record = _record(
        state,
        kind="promote",
        to=version,
        by=request.by,
        at=now,
        reason=request.reason,
        override=request.override if _overridable(report) else None,
        approved_by=tuple(answer.by for answer in approvals if answer.approved),
        policy=report,
    )
    return Weighed(policy=policy, report=report, record=record, already=already)


def move(weighed: Weighed) -> PromotionReport:
    """Move the alias if the weighing lets it; may be repeated with the same weighing.

    Raises:
        AliasMoved: when somebody else moved it since it was weighed.
    """
    store, registry = _places()
    record = weighed.record
    if weighed.already:
        follow(store, registry, record.name, record.alias)
    elif weighed.settled:
        commit(store, registry, record)
    moved = weighed.settled and not weighed.already
    return _report(record, passed=weighed.settled, moved=moved)


def plan_rollback(request: RollbackRequest) -> PromotionRecord:
    """Find where the alias goes back to, and that the bundle there is whole.

    Raises:
        RequestError: when there is nothing to go back to.
        SourceNotFound: when that version or its bundle is gone.
        IntegrityError: when its bundle, or the log, is not what was written.
        AliasMoved: when the alias is not where it was expected.
    """
    store, registry = _places()
    state = look(store, registry, request.name, request.alias)
    must_agree(state)
    if request.expect is not None:
        must_be_at(state, request.expect)
    target, digest = rollback_target(state)
    version = state.must_find(target)
    if digest is not None and version.bundle_digest != digest:
        version = version.model_copy(update={"bundle_digest": digest})
    StoredBundle.of(store, version).verify()
    return _record(
        state,
        kind="rollback",
        to=version,
        by=request.by,
        at=time.time(),
        reason=request.reason,
    )


def roll_back(record: PromotionRecord) -> PromotionReport:
    """Move the alias back as planned; may be repeated with the same plan.

    Raises:
        AliasMoved: when somebody else moved it since.
    """
    store, registry = _places()
    commit(store, registry, record)
    return _report(record, passed=True, moved=True)


def history(name: str, *, alias: str | None = None, repair: bool = False) -> HistoryReport:
    """Read the logs of a model's aliases; when asked, point aliases where their logs say.

    Raises:
        SourceNotFound: when there is neither a log nor a version of that name.
        IntegrityError: when a log was changed.
    """
    store, registry = _places()
    logged = [found for _, found in logged_aliases(store, name)]
    asked = [alias] if alias else sorted({*logged, *registry.aliases(name)})
    if not logged and not registry.versions(name):
        AliasState(name, alias or "", (), None, ()).must_find(1)
    told = tuple(_history(store, registry, name, one, repair=repair) for one in asked)
    return HistoryReport(
        passed=all(one.drift is None or one.repaired for one in told), name=name, aliases=told
    )


def _history(
    store: Store, registry: Registry, name: str, alias: str, *, repair: bool
) -> AliasHistory:
    state = look(store, registry, name, alias)
    drift = state.drift
    if drift and repair:
        follow(store, registry, name, alias)
        state = look(store, registry, name, alias)
    return AliasHistory(
        alias=alias,
        current=state.current,
        pointed=state.pointed,
        drift=drift,
        repaired=bool(drift and repair),
        records=state.records,
    )


def _overridable(report: PolicyReport) -> set[str]:
    """The rules that failed and that an override can replace."""
    return {rule.rule for rule in report.failures} - {APPROVALS}


def _places() -> tuple[Store, Registry]:
    settings = Settings()
    return open_store(settings.store_uri), open_registry(settings.registry_uri)


def _known(
    store: Store, registry: Registry, state: AliasState, version: int
) -> tuple[Case | None, str | None]:
    found = state.find(version)
    if found is None:
        return None, f"version {version}, where the alias points, is none that a release made"
    return read_if_known(store, registry, found)


def _record(
    state: AliasState,
    *,
    kind: Kind,
    to: RegisteredVersion,
    by: str,
    at: float,
    reason: str | None,
    override: str | None = None,
    approved_by: tuple[str, ...] = (),
    policy: PolicyReport | None = None,
) -> PromotionRecord:
    return PromotionRecord(
        number=len(state.records) + 1,
        name=state.name,
        alias=state.alias,
        kind=kind,
        from_version=state.current,
        to_version=to.version,
        to_digest=to.bundle_digest,
        by=by,
        at=datetime.fromtimestamp(at, UTC),
        reason=reason,
        override=override,
        approved_by=approved_by,
        policy=policy,
        previous=state.head.digest if state.head else None,
        nonce=secrets.token_hex(16),
    )


def _report(record: PromotionRecord, *, passed: bool, moved: bool) -> PromotionReport:
    return PromotionReport(
        passed=passed,
        moved=moved,
        name=record.name,
        alias=record.alias,
        kind=record.kind,
        from_version=record.from_version,
        to_version=record.to_version,
        by=record.by,
        reason=record.reason,
        record=record.number if moved else None,
        record_digest=record.digest if moved else None,
        approved_by=record.approved_by,
        override=record.override,
        policy=record.policy,
    )
