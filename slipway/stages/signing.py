"""Signatures of bundles in the store: made when a bundle is sealed, looked at before it is used."""

from pathlib import Path
from typing import Final

from slipway.artifacts import Digest
from slipway.errors import IntegrityError
from slipway.packaging.layout import MANIFEST_NAME, SIGNATURE_NAME
from slipway.packaging.signing import (
    Signer,
    Trust,
    check_signature,
    sign_manifest,
)
from slipway.promotion.policy import Signature
from slipway.protocols import Store
from slipway.settings import Settings

_FOLDER: Final = "signatures"


def sign_stored(store: Store, bundle: Digest, settings: Settings) -> None:
    """Sign a bundle in the store with the configured key, unless that key has signed it before.

    Raises:
        EnvironmentMissing: when model-signing is not installed.
        RequestError: when the key cannot be used.
    """
    if settings.signing_key is None:
        return
    signer = Signer(key=settings.signing_key, certificate=settings.signing_certificate)
    name = f"{_folder(bundle)}/{signer.identity}.json"
    if name not in store.records(_folder(bundle)):
        # Who writes the same name at this moment signs the same with the same key.
        store.create_record(name, sign_manifest(store.read_bytes(bundle), signer))


def copy_signatures(source: Store, target: Store, bundle: Digest) -> None:
    """Let another store have a bundle's signatures, too."""
    there = target.records(_folder(bundle))
    for name in source.records(_folder(bundle)):
        if name not in there:
            target.create_record(name, source.read_record(name))


def put_signature(store: Store, bundle: Digest, folder: Path, settings: Settings) -> None:
    """Write a bundle's signature beside its manifest, where there is one: a trusted one first."""
    found = _signatures(store, bundle)
    target = folder / SIGNATURE_NAME
    if not found or target.exists():
        return
    trust = trusted(settings)
    manifest = store.read_bytes(bundle)
    good = [one for one in found if trust is not None and _is_good(manifest, one, trust)]
    target.write_bytes((*good, *found)[0])


def look_at_signature(store: Store, bundle: Digest, settings: Settings) -> Signature:
    """What there is of signatures for a bundle in the store, for a policy to judge."""
    found, trust = _signatures(store, bundle), trusted(settings)
    if not found:
        return Signature("absent", "the bundle is not signed")
    if trust is None:
        return Signature("not checked", "no key to check it with: set SLIPWAY_VERIFY_KEY")
    manifest = store.read_bytes(bundle)
    for signature in found:
        try:
            check_signature(manifest, signature, trust)
        except IntegrityError as error:
            wrong = str(error)
        else:
            return Signature("valid", f"by {trust.named}")
    return Signature("wrong", wrong)


def check_folder(folder: Path, settings: Settings, *, what: str | None = None) -> None:
    """Check the signature of an unpacked bundle, where a key or an authority is configured.

    Args:
        folder: The bundle.
        settings: Who is trusted.
        what: The bundle's name in messages; the folder if None.

    Raises:
        IntegrityError: when it is not signed, or not by who is trusted.
        EnvironmentMissing: when model-signing is not installed.
        RequestError: when the key cannot be used.
    """
    trust = trusted(settings)
    if trust is None:
        return
    try:
        signature = (folder / SIGNATURE_NAME).read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(
            f"{what or folder} is not signed: it has no {SIGNATURE_NAME}, and {trust.named} is "
            "configured to check it with"
        ) from error
    try:
        check_signature((folder / MANIFEST_NAME).read_bytes(), signature, trust)
    except IntegrityError as error:
        raise IntegrityError(f"{what or folder}: {error}") from error


def trusted(settings: Settings) -> Trust | None:
    """Who must have signed, by the settings."""
    if settings.verify_key is None and settings.verify_ca is None:
        return None
    return Trust(key=settings.verify_key, authority=settings.verify_ca)


def _signatures(store: Store, bundle: Digest) -> list[bytes]:
    return [store.read_record(name) for name in store.records(_folder(bundle))]


def _is_good(manifest: bytes, signature: bytes, trust: Trust) -> bool:
    try:
        check_signature(manifest, signature, trust)
    except IntegrityError:
        return False
    return True


def _folder(bundle: Digest) -> str:
    return f"{_FOLDER}/{bundle.removeprefix('sha256:')}"
