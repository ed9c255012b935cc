"""Where the aliases of a registered model pointed, and whether the registry still agrees."""

from pydantic import Field

from slipway.artifacts import Value
from slipway.promotion.log import logged_aliases
from slipway.promotion.moving import AliasState, follow, look
from slipway.promotion.records import PromotionRecord
from slipway.protocols import Registry, Store
from slipway.stages.environments import here


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


def history(name: str, *, alias: str | None = None, repair: bool = False) -> HistoryReport:
    """Read the logs of a model's aliases; when asked, point aliases where their logs say.

    Raises:
        SourceNotFound: when there is neither a log nor a version of that name.
        IntegrityError: when a log was changed.
    """
    place = here(name)
    store, registry = place.store, place.registry
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
