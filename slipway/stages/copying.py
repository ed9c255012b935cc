"""A registered version copied to another environment: the same bytes, and where they come from."""

from slipway.artifacts import BUNDLE_MEDIA_TYPE, ArtifactRef, digest_bytes
from slipway.packaging.layout import EVIDENCE_NAME, MATERIALS_NAME, SPEC_NAME
from slipway.packaging.stored import StoredBundle
from slipway.promotion.records import CopiedFrom
from slipway.protocols import Store
from slipway.reports import Evidence, RegisteredVersion, SealedBundle
from slipway.specs import RegisterSpec, ReleaseSpec
from slipway.stages.environments import Environment
from slipway.stages.making import Materials
from slipway.stages.registering import describe_release, register_bundle
from slipway.stages.releasing import unpack_bundle
from slipway.stages.signing import copy_signatures
from slipway.stores.trees import contains_all, copy_to


def copy_version(
    version: RegisteredVersion,
    *,
    source: Environment,
    target: Environment,
    origin: CopiedFrom,
) -> RegisteredVersion:
    """Make the version in the target, or find the one that is there; no alias is moved.

    The bundle's files go from store to store byte for byte, and nothing goes that the target has.
    With them go the signatures, and what the release was made from as far as the source still has
    it, so that a nightly regression there can make it again. At the source nothing is written.

    Args:
        version: What to copy.
        source: Where it is.
        target: Where to.
        origin: Where the copy says that it comes from.

    Raises:
        SourceNotFound: when the source's store has no such bundle.
        IntegrityError: when a file in either store is not the one that was sealed.
        RequestError: when another Slipway sealed the bundle in a way that this one cannot read.
        Transient: when a store or a registry does not answer; repeat with the same.
    """
    sealed = StoredBundle.of(source.store, version)
    manifest = sealed.manifest
    spec, evidence = sealed.parse(SPEC_NAME, ReleaseSpec), sealed.parse(EVIDENCE_NAME, Evidence)
    tree = manifest.tree()
    ref = ArtifactRef(
        uri=version.bundle_digest,
        digest=digest_bytes(tree.to_json()),
        size_bytes=tree.size_bytes,
        media_type=BUNDLE_MEDIA_TYPE,
    )
    if MATERIALS_NAME in {file.path for file in manifest.files}:
        materials = sealed.parse(MATERIALS_NAME, Materials)
        _copy_materials(source.store, target.store, materials)
    copy_signatures(source.store, target.store, version.bundle_digest)
    copied_ref = copy_to(source.store, target.store, ref)
    StoredBundle.of(target.store, version).verify()
    bundle = unpack_bundle(
        SealedBundle(digest=version.bundle_digest, ref=copied_ref), settings=target.settings
    )
    registration = describe_release(
        spec.model_copy(update={"register_as": RegisterSpec(name=target.name, alias=None)}),
        bundle,
        evidence,
        links={},
    )
    copied = f"models:/{origin.name}/{origin.version}"
    changes: dict[str, object] = {
        "tags": {**registration.tags, "copied_from": f"{copied} in {origin.registry}"}
    }
    # In another registry the address means nothing, or another model.
    changes |= {"source_uri": copied if source.registry.uri == target.registry.uri else None}
    return register_bundle(registration.model_copy(update=changes), settings=target.settings)


def _copy_materials(source: Store, target: Store, materials: Materials) -> None:
    for ref in materials.refs():
        if contains_all(source, ref):
            copy_to(source, target, ref)
