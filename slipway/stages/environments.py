"""An environment: a store and the registry that names what is in it; this one, or another."""

from dataclasses import dataclass, replace

from slipway.errors import RequestError
from slipway.promotion.log import logged_aliases, read_log
from slipway.promotion.records import CopiedFrom, PromotionRecord, without_password
from slipway.protocols import Registry, Store
from slipway.registries import open_registry
from slipway.registries.sqlite import database_path
from slipway.reports import RegisteredVersion
from slipway.settings import Settings
from slipway.specs import PromotionRequest
from slipway.stores import open_store


@dataclass(frozen=True)
class Environment:
    """Where a registered model is, under its name there."""

    name: str
    store: Store
    registry: Registry
    settings: Settings


def here(name: str) -> Environment:
    """The environment of the settings."""
    settings = Settings()
    return Environment(
        name, open_store(settings.store_uri), open_registry(settings.registry_uri), settings
    )


def destination(request: PromotionRequest) -> Environment:
    """Where the alias of a request is to move.

    Raises:
        RequestError: when the request names the very place that the version is in, or one whose log
            would be the same.
    """
    source = here(request.name)
    to = request.to
    if to is None:
        return source
    name = to.name or request.name
    settings = Settings(
        home=_home(source.settings, to.registry),
        store=to.store or source.settings.store_uri,
        registry=to.registry or source.settings.registry_uri,
    )
    target = replace(
        here(name),
        store=open_store(settings.store_uri),
        registry=open_registry(settings.registry_uri),
        settings=settings,
    )
    if (target.name, target.store.uri) == (source.name, source.store.uri):
        raise RequestError(
            f"--to: {name} in {target.store.uri} is where the version is; give another name, or "
            "another store: the log of an alias is kept in the store, under the name"
        )
    return target


def origin(source: Environment, version: RegisteredVersion) -> CopiedFrom:
    """What a copy of a version says of where it comes from."""
    moves: list[PromotionRecord] = []
    for name, alias in logged_aliases(source.store, source.name):
        moves += (
            record
            for record in read_log(source.store, name, alias)
            if (record.to_version, record.to_digest) == (version.version, version.bundle_digest)
        )
    return CopiedFrom(
        registry=without_password(source.registry.uri),
        name=version.name,
        version=version.version,
        record=max(moves, key=lambda record: record.at, default=None),
    )


def _home(settings: Settings, registry: str | None) -> object:
    """Where bundles lie unpacked: beside the registry, where that is a file of another home."""
    database = database_path(registry) if registry else None
    if database is None or database.is_relative_to(settings.root):
        return settings.root
    return database.parent
