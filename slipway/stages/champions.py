"""Promoted releases, read back from the store: what they were made from and what was found."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from slipway.artifacts import Value
from slipway.errors import IntegrityError, RequestError, SourceNotFound
from slipway.packaging.manifest import Manifest
from slipway.packaging.provenance import PROVENANCE_NAME, read_tools
from slipway.protocols import Store
from slipway.registries import open_registry
from slipway.reports import Evidence, RegisteredVersion
from slipway.settings import Settings
from slipway.specs import RegressionSpec, ReleaseSpec, load_spec
from slipway.stages.making import Materials, fetch_materials
from slipway.stages.releasing import EVIDENCE_NAME, MATERIALS_NAME, SPEC_NAME
from slipway.stores import open_store

Read = TypeVar("Read", bound=Value)


class Subject(Value):
    """A model to make again: a promoted version, a spec, or a spec whose version is promoted."""

    name: str
    version: RegisteredVersion | None = None
    spec_file: str | None = None


class Champion(Value):
    """What a promoted version's bundle says of itself; its references are to the store."""

    version: RegisteredVersion
    spec: ReleaseSpec
    materials: Materials
    evidence: Evidence
    tools: dict[str, str]


def find_subjects(request: RegressionSpec) -> tuple[Subject, ...]:
    """The models that a regression run looks at, by name; a spec stands before its version.

    Raises:
        SourceNotFound: when a model that is named, or its alias, is not there.
        SpecError: for a listed spec that is wrong.
        RegistryUnavailable: when the registry cannot be asked.
    """
    registry = open_registry(Settings().registry_uri)
    found: dict[str, Subject] = {}
    for file in request.specs:
        spec = load_spec(Path(file))
        name = spec.register_as.name if spec.register_as else spec.name
        if name in found:
            raise RequestError(f"specs: {file} and {found[name].spec_file} are both of {name}")
        found[name] = Subject(name=name, spec_file=file)
    for name in request.models or registry.names():
        try:
            version = registry.resolve(name, request.alias)
        except SourceNotFound:
            if request.models:
                raise
            continue
        found[name] = Subject(
            name=name,
            version=version,
            spec_file=found[name].spec_file if name in found else None,
        )
    return tuple(found[name] for name in sorted(found))


def read_champion(version: RegisteredVersion) -> Champion:
    """What a version was made from, and with what result, from its bundle in the store.

    Raises:
        SourceNotFound: when the bundle is not in the store.
        IntegrityError: when the bundle does not say what it was made from.
    """
    store = open_store(Settings().store_uri)
    manifest = Manifest.from_json(store.read_bytes(version.bundle_digest))
    return Champion(
        version=version,
        spec=_read(store, manifest, SPEC_NAME, ReleaseSpec),
        materials=_read(store, manifest, MATERIALS_NAME, Materials),
        evidence=_read(store, manifest, EVIDENCE_NAME, Evidence),
        tools=read_tools(_content(store, manifest, PROVENANCE_NAME)),
    )


def fetch_subject(subject: Subject, champion: Champion | None) -> tuple[ReleaseSpec, Materials]:
    """What a model is made from today: a listed spec's own files, else what the bundle names."""
    if subject.spec_file is not None:
        spec = load_spec(Path(subject.spec_file))
        materials = fetch_materials(spec)
        return materials.complete(spec), materials
    if champion is None:
        raise RequestError(f"{subject.name} has neither a promoted version nor a spec")
    return champion.spec, champion.materials


def _read(store: Store, manifest: Manifest, name: str, kind: type[Read]) -> Read:
    try:
        return kind.model_validate_json(_content(store, manifest, f"evidence/{name}"))
    except ValidationError as error:
        raise IntegrityError(
            f"evidence/{name} of {manifest.name} ({manifest.digest}) is not one that this version "
            f"of slipway reads: {error}; release the model again"
        ) from error


def _content(store: Store, manifest: Manifest, path: str) -> bytes:
    for file in manifest.files:
        if file.path == path:
            return store.read_bytes(file.digest)
    raise IntegrityError(
        f"the bundle {manifest.digest} of {manifest.name} holds no {path}: it was made before "
        "bundles named what they are made from; release the model again"
    )
