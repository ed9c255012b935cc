"""What is known of a version, read out of its sealed bundle in the store and verified by digest."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from slipway.artifacts import Digest, FileEntry
from slipway.errors import IntegrityError, RequestError, SlipwayError, SourceNotFound, Transient
from slipway.packaging.manifest import Manifest
from slipway.packaging.provenance import PROVENANCE_NAME, data_digests
from slipway.packaging.verify import EVIDENCE_NAME
from slipway.protocols import Registry, Store
from slipway.reports import Evidence, RegisteredVersion
from slipway.specs import PolicySpec

Model = TypeVar("Model", bound=BaseModel)

SPEC_NAME: Final = "evidence/spec.json"


@dataclass(frozen=True)
class Case:
    """A version with the evidence that speaks for it."""

    version: RegisteredVersion
    registered_s: float
    files: int
    evidence: Evidence
    data_digests: Mapping[str, Digest]
    """What it was made from and measured on, by role, such as `evaluation`."""
    policy: PolicySpec | None
    """The policy of the spec that the release was made from."""


def read_case(store: Store, registry: Registry, version: RegisteredVersion) -> Case:
    """Read the evidence of a version's bundle.

    Raises:
        SourceNotFound: when the store has no such bundle.
        IntegrityError: when a file of it is not the one that was sealed, or is gone.
        RequestError: when another Slipway wrote its evidence in a way that this one cannot read.
    """
    manifest = read_manifest(store, version)
    spec = json.loads(read_file(store, version, manifest, SPEC_NAME))
    sealed = spec.get("promotion") if isinstance(spec, dict) else None
    return Case(
        version=version,
        registered_s=registry.about(version.name, version.version).registered_s,
        files=len(manifest.files),
        evidence=parse(version, Evidence, read_file(store, version, manifest, EVIDENCE_NAME)),
        data_digests=data_digests(
            read_file(store, version, manifest, PROVENANCE_NAME),
            where=f"{PROVENANCE_NAME} of version {version.version} of {version.name}",
        ),
        policy=parse(version, PolicySpec, json.dumps(sealed).encode()) if sealed else None,
    )


def read_if_known(
    store: Store, registry: Registry, version: RegisteredVersion
) -> tuple[Case | None, str | None]:
    """The case of a version that others are compared with; or why nothing is known of it.

    Raises:
        Transient: when the store or the registry cannot be asked: that is no knowledge.
    """
    try:
        return read_case(store, registry, version), None
    except Transient:
        raise
    except SlipwayError as error:
        return None, str(error)


def read_manifest(store: Store, version: RegisteredVersion) -> Manifest:
    """The manifest of a version's bundle, whose digest is the bundle's identity.

    Raises:
        SourceNotFound: when the store has no such bundle.
        IntegrityError: when the bytes are not the manifest.
    """
    try:
        return Manifest.from_json(store.read_bytes(version.bundle_digest))
    except SourceNotFound as error:
        raise SourceNotFound(
            f"version {version.version} of {version.name} is bundle {version.bundle_digest}, which "
            f"is not in {store.uri}; set SLIPWAY_STORE to the store that its release wrote to"
        ) from error


def verify_stored(store: Store, version: RegisteredVersion) -> int:
    """Read every file of a version's bundle in the store again; how many there are.

    Raises:
        SourceNotFound: when the store has no such bundle.
        IntegrityError: naming the file that is gone, or not the one that was sealed.
    """
    manifest = read_manifest(store, version)
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        copy = Path(folder) / "copy"
        for file in manifest.files:
            try:
                store.fetch_file(file.digest, copy)
            except (SourceNotFound, IntegrityError) as error:
                raise _unsound(version, file.path, error) from error
            copy.unlink()
    return len(manifest.files)


def read_file(store: Store, version: RegisteredVersion, manifest: Manifest, path: str) -> bytes:
    """One small file of a version's bundle.

    Raises:
        RequestError: when the bundle has no such file.
        IntegrityError: when the bytes are not those that were sealed, or are gone.
    """
    entry: FileEntry | None = next((f for f in manifest.files if f.path == path), None)
    if entry is None:
        raise RequestError(
            f"version {version.version} of {version.name} holds no {path}; was it released?"
        )
    try:
        return store.read_bytes(entry.digest)
    except (SourceNotFound, IntegrityError) as error:
        raise _unsound(version, path, error) from error


def _unsound(version: RegisteredVersion, path: str, error: SlipwayError) -> IntegrityError:
    return IntegrityError(
        f"version {version.version} of {version.name} is not whole: {path}: {error}; run its "
        "release again, which stores the same bytes anew"
    )


def parse(version: RegisteredVersion, model: type[Model], data: bytes) -> Model:
    """What a file of a bundle says.

    Raises:
        RequestError: when another Slipway wrote it in a way that this one cannot read.
    """
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise RequestError(
            f"version {version.version} of {version.name} has a {model.__name__} that this Slipway "
            f"cannot read ({error.error_count()} fields); release it again"
        ) from error
