"""Moving an alias: the log in the store decides, the registry's alias follows it.

MLflow moves an alias for whoever asks last, and remembers nothing. Here the next record of the log
is written under the condition that nobody has written it; only then the alias is moved, and read
again until both agree. A process that is killed in between leaves an alias that is behind the log:
that is found and told, and repaired when asked.
"""

import re
from dataclasses import dataclass
from typing import Final

from slipway.artifacts import Digest
from slipway.errors import AliasMoved, IntegrityError, RequestError, SourceNotFound
from slipway.promotion.log import append, read_log
from slipway.promotion.records import CopiedFrom, PromotionRecord, without_password
from slipway.protocols import Registry, Store
from slipway.reporting.markdown import escape
from slipway.reports import RegisteredVersion

_ANCHOR: Final = re.compile(r"#(?P<number>\d+) (?P<digest>sha256:[0-9a-f]{64})\b.*", re.DOTALL)


@dataclass(frozen=True)
class AliasState:
    """Where an alias stands: by the log, and by the registry."""

    name: str
    alias: str
    records: tuple[PromotionRecord, ...]
    pointed: int | None
    """The version that the registry's alias points at."""
    versions: tuple[RegisteredVersion, ...]

    @property
    def head(self) -> PromotionRecord | None:
        """The last record."""
        return self.records[-1] if self.records else None

    @property
    def current(self) -> int | None:
        """The version that counts: the log's, where there is a log."""
        return self.head.to_version if self.head else self.pointed

    @property
    def drift(self) -> str | None:
        """How log and registry disagree, in a sentence; None where they agree."""
        if self.head is None or self.pointed == self.head.to_version:
            return None
        if self.pointed is None and self.find(self.head.to_version) is None:
            return None  # the registry dropped the alias together with its version
        return (
            f"the log says that {self.name}@{self.alias} is version {self.head.to_version} (record "
            f"{self.head.number}, by {self.head.by}), and the registry's alias points "
            f"{_where(self.pointed)}"
        )

    def find(self, version: int) -> RegisteredVersion | None:
        """A version of the model by its number."""
        return next((found for found in self.versions if found.version == version), None)

    def must_find(self, version: int) -> RegisteredVersion:
        """The same.

        Raises:
            SourceNotFound: when the registry has no such version of a release.
        """
        return must_find(self.versions, self.name, version)


def must_find(
    versions: tuple[RegisteredVersion, ...], name: str, version: int
) -> RegisteredVersion:
    """A version of a model by its number.

    Raises:
        SourceNotFound: when the registry has no such version of a release.
    """
    found = next((found for found in versions if found.version == version), None)
    if found is None:
        known = ", ".join(str(v.version) for v in versions) or "none"
        raise SourceNotFound(
            f"there is no version {version} of {name} that a release made; there are: {known}"
        )
    return found


def look(store: Store, registry: Registry, name: str, alias: str) -> AliasState:
    """Read the log and the registry.

    Raises:
        IntegrityError: when the log was changed, or records that the registry knows are gone.
    """
    state = AliasState(
        name=name,
        alias=alias,
        records=read_log(store, name, alias),
        pointed=registry.aliases(name).get(alias),
        versions=registry.versions(name),
    )
    _check_anchors(store, registry, state)
    return state


def must_be_at(state: AliasState, expected: int | None) -> None:
    """Refuse where the alias is not at the version that was expected; None is nowhere.

    Raises:
        AliasMoved: saying where it is.
    """
    if state.current != expected:
        head = state.head
        who = f"{head.by} moved it there at {head.at:%Y-%m-%d %H:%M} UTC; " if head else ""
        raise AliasMoved(
            f"{state.name}@{state.alias} points {_where(state.current)}, not {_where(expected)}; "
            f"{who}look at `slipway history {state.name}`, then ask again"
        )


def must_agree(state: AliasState) -> None:
    """Refuse where log and registry disagree.

    Raises:
        AliasMoved: with the way out.
    """
    if state.drift:
        raise AliasMoved(
            f"{state.drift}; unless somebody moves it at this moment, `slipway history "
            f"{state.name} --alias {state.alias} --repair` points it where the log says; then ask "
            "again"
        )


def commit(store: Store, registry: Registry, record: PromotionRecord) -> None:
    """Write the record, then let the alias follow; may be repeated with the same record.

    Raises:
        AliasMoved: when somebody else moved the alias since; nothing has moved then.
        IntegrityError: when the log was changed.
    """
    state = look(store, registry, record.name, record.alias)
    if len(state.records) < record.number:
        must_agree(state)
        must_be_at(state, record.from_version)
    if not append(store, record):
        winner = read_log(store, record.name, record.alias)[record.number - 1]
        raise AliasMoved(
            f"{winner.by} moved {record.name}@{record.alias} to version {winner.to_version} in the "
            f"meantime (record {winner.number}); look at `slipway history {record.name}`, then "
            "ask again"
        )
    follow(store, registry, record.name, record.alias)


def follow(store: Store, registry: Registry, name: str, alias: str) -> PromotionRecord | None:
    """Point the registry's alias where the log says; the record that says it.

    The log is read again afterwards: whoever wrote a record meanwhile may have been overtaken.

    Raises:
        SourceNotFound: when the registry no longer has that version.
    """
    done: PromotionRecord | None = None
    while records := read_log(store, name, alias):
        if done == records[-1]:
            break
        done = records[-1]
        registry.set_alias(name, alias, done.to_version)
    if done is not None:
        _annotate(registry, done)
    return done


def rollback_target(state: AliasState) -> tuple[int, Digest | None]:
    """Where a rollback goes: the version before the current one, and its bundle where known.

    A version that was itself rolled back from is not gone back to: each rollback goes one further.

    Raises:
        RequestError: when there is none.
    """
    way: list[tuple[int, Digest | None]] = []
    for record in state.records:
        if not way and record.from_version is not None:
            way.append((record.from_version, None))
        if record.kind == "rollback":
            while way and way[-1][0] != record.to_version:
                way.pop()
        else:
            way.append((record.to_version, record.to_digest))
    if len(way) < 2:  # noqa: PLR2004 - where it is, and where it was
        raise RequestError(
            f"{state.name}@{state.alias} has never pointed anywhere else; there is nothing to roll "
            "back to"
        )
    return way[-2]


def _where(version: int | None) -> str:
    return "nowhere" if version is None else f"at version {version}"


def _annotate(registry: Registry, record: PromotionRecord) -> None:
    """Write the record on the versions that it concerns, for whoever looks there."""
    for version in {record.from_version, record.to_version} - {None}:
        assert version is not None  # noqa: S101 - for the type checker
        try:
            found = registry.about(record.name, version)
        except SourceNotFound:  # deleted since
            continue
        line = _line(record, registry)
        known = line in found.description
        registry.annotate(
            record.name,
            version,
            tags={_tag(record.alias): _anchor(record)},
            description=None if known else f"{found.description.rstrip()}\n\n{line}\n".lstrip(),
        )


def _tag(alias: str) -> str:
    return f"promotion.{alias}"


def _anchor(record: PromotionRecord) -> str:
    """The record's number and digest first: what a shortened log is found by."""
    came = "nowhere" if record.from_version is None else record.from_version
    return (
        f"#{record.number} {record.digest} {record.kind} {came} -> {record.to_version} by "
        f"{record.by} at {record.at:%Y-%m-%d %H:%M} UTC"
    )


def _line(record: PromotionRecord, registry: Registry) -> str:
    """A paragraph of a version's description."""
    came = "nowhere" if record.from_version is None else f"version {record.from_version}"
    verb = "rolled back" if record.kind == "rollback" else "promoted"
    moved = f"{verb} from {came} to version {record.to_version} (record {record.number})"
    when = f"{record.at:%Y-%m-%d %H:%M} UTC by {escape(record.by)}"
    parts = [f"**{escape(record.alias)}**: {moved}, {when}"]
    if record.copied_from is not None:
        parts.append(f"a copy of {_origin(record.copied_from, registry)}")
    if record.approved_by:
        parts.append(f"approved by {escape(', '.join(record.approved_by))}")
    if record.policy is not None:
        failed = ", ".join(rule.rule for rule in record.policy.failures)
        parts.append(f"policy failed ({escape(failed)})" if failed else "policy passed")
    if record.override:
        parts.append(f"override: {escape(record.override)}")
    if record.reason:
        parts.append(escape(record.reason))
    if record.run:
        parts.append(f"[Prefect run]({record.run})")
    return "; ".join(parts)


def _origin(copied: CopiedFrom, registry: Registry) -> str:
    text = f"version {copied.version} of {escape(copied.name)}"
    if copied.registry == without_password(registry.uri):
        return f"[{text}](#/models/{copied.name}/versions/{copied.version})"
    return f"{text} in {escape(copied.registry)}"


def _check_anchors(store: Store, registry: Registry, state: AliasState) -> None:
    """Hold what the registry's versions say of the log against the log.

    Raises:
        IntegrityError: when records are gone from its end, or were written anew.
    """
    for version in {state.pointed, state.head.to_version if state.head else None} - {None}:
        assert version is not None  # noqa: S101 - for the type checker
        try:
            tag = registry.about(state.name, version).tags.get(_tag(state.alias), "")
        except SourceNotFound:  # deleted since
            continue
        anchor = _ANCHOR.fullmatch(tag)
        if anchor is None:
            continue
        number = int(anchor["number"])
        where = f"the log of {state.name}@{state.alias} in {store.uri}"
        records = state.records
        if number > len(records):  # perhaps a record that was written since they were read
            records = read_log(store, state.name, state.alias)
        if number > len(records):
            raise IntegrityError(
                f"{where} has {len(records)} records, and version {version} knows of record "
                f"{number}: its end was removed, or SLIPWAY_STORE names another store than that "
                "which the alias was moved with"
            )
        if records[number - 1].digest != anchor["digest"]:
            raise IntegrityError(f"{where}: record {number} is not the one that moved the alias")
