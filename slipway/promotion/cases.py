"""What is known of a version, read out of its sealed bundle in the store and verified by digest."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from slipway.artifacts import Digest
from slipway.errors import SlipwayError, Transient
from slipway.packaging.layout import EVIDENCE_NAME, PROVENANCE_NAME, SPEC_NAME
from slipway.packaging.provenance import data_digests
from slipway.packaging.stored import StoredBundle
from slipway.protocols import Registry, Store
from slipway.reports import Evidence, RegisteredVersion
from slipway.specs import PolicySpec


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
    bundle = StoredBundle.of(store, version)
    return Case(
        version=version,
        registered_s=registry.about(version.name, version.version).registered_s,
        files=len(bundle.manifest.files),
        evidence=bundle.parse(EVIDENCE_NAME, Evidence),
        data_digests=data_digests(
            bundle.read(PROVENANCE_NAME), where=f"{PROVENANCE_NAME} of {bundle}"
        ),
        policy=bundle.parse(SPEC_NAME, _Promoted).promotion,
    )


class _Promoted(BaseModel):
    """What of a spec decides a promotion; the rest may be another Slipway's."""

    model_config = ConfigDict(extra="ignore")

    promotion: PolicySpec | None = None


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
