"""Promoted releases, read back from the store: what they were made from and what was found."""

from pathlib import Path

from slipway.artifacts import Value
from slipway.errors import RequestError, SourceNotFound
from slipway.packaging.layout import EVIDENCE_NAME, MATERIALS_NAME, PROVENANCE_NAME, SPEC_NAME
from slipway.packaging.provenance import read_tools
from slipway.packaging.stored import StoredBundle
from slipway.registries import open_registry
from slipway.reports import Evidence, RegisteredVersion
from slipway.settings import Settings
from slipway.specs import RegressionSpec, ReleaseSpec, load_spec
from slipway.stages.making import Materials, fetch_materials
from slipway.stores import open_store


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
        RequestError: when the bundle does not say what it was made from.
        IntegrityError: when a file of it is not the one that was sealed, or is gone.
    """
    bundle = StoredBundle.of(open_store(Settings().store_uri), version)
    return Champion(
        version=version,
        spec=bundle.parse(SPEC_NAME, ReleaseSpec),
        materials=bundle.parse(MATERIALS_NAME, Materials),
        evidence=bundle.parse(EVIDENCE_NAME, Evidence),
        tools=read_tools(bundle.read(PROVENANCE_NAME)),
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
