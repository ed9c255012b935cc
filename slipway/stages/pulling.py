"""Taking a registered bundle out of the store: whole, verified and self-tested, or not at all."""

import re
import secrets
import shutil
from pathlib import Path

from pydantic import Field

from slipway.artifacts import BUNDLE_MEDIA_TYPE, ArtifactRef, Digest, Value, digest_bytes
from slipway.errors import CheckFailed, IntegrityError, RequestError, SourceNotFound, os_failure
from slipway.packaging.stored import StoredBundle
from slipway.packaging.verify import verify_bundle
from slipway.registries import open_registry
from slipway.reports import RegisteredVersion, SelftestReport
from slipway.settings import Settings
from slipway.stages.bare import selftest_folder
from slipway.stages.signing import check_folder, put_signature, trusted
from slipway.stores import open_store
from slipway.stores.trees import fetch


class PullReport(Value):
    """A bundle that was taken out of the store."""

    passed: bool
    path: str
    name: str
    version: int
    digest: Digest
    files: int
    signature: str | None = Field(
        default=None, description="Whom the signature was checked with; None: not checked."
    )
    selftest: SelftestReport


def pull(address: str, out: Path) -> PullReport:
    """Put the bundle of `NAME@ALIAS` or `NAME/VERSION` into a new folder.

    The folder appears when every file is the one that was sealed, the signature is good where a key
    is configured, and every variant repeats its recorded answers.

    Raises:
        RequestError: for another address, or when `out` exists.
        SourceNotFound: when there is no such version, or its bundle is not in the store.
        IntegrityError: when a file is not as sealed, or the signature is not a trusted one's.
        CheckFailed: when a variant does not repeat its answers here.
    """
    if out.exists() or out.is_symlink():
        raise RequestError(f"{out} exists already; pull to a new folder")
    settings = Settings()
    store = open_store(settings.store_uri)
    version = _resolve(address, settings)
    tree = StoredBundle.of(store, version).manifest.tree()
    digest = digest_bytes(tree.to_json())
    partial = out.absolute().with_name(f".{out.name[:100]}.{secrets.token_hex(8)}")
    try:
        fetch(
            store,
            ArtifactRef(
                uri=f"{store.uri}/{digest}",
                digest=digest,
                size_bytes=tree.size_bytes,
                media_type=BUNDLE_MEDIA_TYPE,
            ),
            partial,
        )
        put_signature(store, version.bundle_digest, partial, settings)
        verified = verify_bundle(partial, digest=version.bundle_digest)
        if not verified.passed:
            wrong = "; ".join(finding.message for finding in verified.findings)
            raise IntegrityError(f"{address} is not as it was sealed: {wrong}")
        check_folder(partial, settings, what=address)
        tested = selftest_folder(partial)
        for variant in tested.variants:
            if not variant.passed:
                raise CheckFailed(f"{address}: {variant.precision} failed: {variant.reason}")
        partial.rename(out)
    except OSError as error:
        raise os_failure(error, f"pulling {address} to {out}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    trust = trusted(settings)
    return PullReport(
        passed=True,
        path=str(out),
        name=version.name,
        version=version.version,
        digest=version.bundle_digest,
        files=verified.files,
        signature=trust.named if trust else None,
        selftest=tested,
    )


def _resolve(address: str, settings: Settings) -> RegisteredVersion:
    """The version that an address names."""
    found = re.fullmatch(r"(?P<name>[^/@]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))", address)
    if found is None:
        raise RequestError(f"{address!r} names no version: write NAME@ALIAS or NAME/VERSION")
    registry = open_registry(settings.registry_uri)
    if found["alias"]:
        return registry.resolve(found["name"], found["alias"])
    wanted = int(found["version"])
    versions = registry.versions(found["name"])
    version = next((v for v in versions if v.version == wanted), None)
    if version is None:
        known = ", ".join(str(v.version) for v in versions) or "none"
        raise SourceNotFound(f"there is no version {wanted} of {found['name']}; there are: {known}")
    return version
