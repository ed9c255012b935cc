"""Signatures of bundles by OpenSSF model-signing, with a key or a certificate; its one home.

What is signed is the manifest: it names every other file by its digest, and its own digest is the
bundle's identity. So signing and checking cost the same for any size, and a changed, missing or
extra file is the manifest's to tell, with its name. model-signing holds a certificate to be good
for whatever it signed while it was valid: it does not ask for the time, or for revocations.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.artifacts import Value, digest_file
from slipway.errors import EnvironmentMissing, IntegrityError, RequestError
from slipway.packaging.layout import MANIFEST_NAME, SIGNATURE_NAME

if TYPE_CHECKING:
    from model_signing.verifying import Config

"""Beside the manifest, which does not list it."""


class Signer(Value):
    """Who signs: a private key, and its certificate where there is one."""

    key: Path
    certificate: Path | None = None

    @property
    def identity(self) -> str:
        """Which key or certificate, in digits; nothing that tells the private key.

        Raises:
            RequestError: when the file cannot be read.
        """
        with _readable(self.certificate or self.key):
            return digest_file(self.certificate or self.key).removeprefix("sha256:")[:16]


class Trust(Value):
    """Who is trusted: a public key, or a certificate authority."""

    key: Path | None = None
    authority: Path | None = None

    @property
    def named(self) -> str:
        """The file that is trusted, for messages."""
        return str(self.key or self.authority)


def sign_manifest(manifest: bytes, signer: Signer) -> bytes:
    """The signature of a manifest: a sigstore bundle, as model-signing writes it.

    Raises:
        EnvironmentMissing: when model-signing is not installed.
        RequestError: when the key or the certificate cannot be used.
    """
    _needs_package()
    from model_signing.signing import Config

    with _as_files(manifest) as (file, signature):
        try:
            config = Config()  # type: ignore[no-untyped-call]
            if signer.certificate is not None:
                config.use_certificate_signer(
                    private_key=signer.key,
                    signing_certificate=signer.certificate,
                    # The whole file: model-signing 1.1 cannot do with an empty chain, and what
                    # stands behind the certificate is its way to the authority.
                    certificate_chain=[signer.certificate],
                )
            else:
                config.use_elliptic_key_signer(private_key=signer.key)
            config.sign(file, signature)
        except Exception as error:  # it raises whatever its libraries do
            raise RequestError(
                f"signing with {signer.key} failed: {_told(error)}; SLIPWAY_SIGNING_KEY must be a "
                "PEM file of an elliptic-curve private key without a password"
            ) from error
        return signature.read_bytes()


def check_signature(manifest: bytes, signature: bytes, trust: Trust) -> None:
    """Whether a signature is one of this manifest by somebody who is trusted.

    Raises:
        IntegrityError: when it is not: by another key, of another manifest, or no signature.
        EnvironmentMissing: when model-signing is not installed.
        RequestError: when the public key or the authority cannot be used.
    """
    _needs_package()
    with _as_files(manifest) as (file, signed):
        signed.write_bytes(signature)
        config = _verifier(trust)
        try:
            # It prints warnings, and stdout is a command's answer.
            with contextlib.redirect_stdout(io.StringIO()):
                config.verify(file, signed)
        except Exception as error:  # as above
            if "Signature mismatch" in str(error):
                raise IntegrityError(
                    f"{SIGNATURE_NAME} is the signature of another {MANIFEST_NAME}"
                ) from error
            raise IntegrityError(
                f"{SIGNATURE_NAME} is no signature that {trust.named} makes valid: it was made "
                f"with another key, or changed ({_told(error)})"
            ) from error


def _verifier(trust: Trust) -> "Config":
    from model_signing.verifying import Config

    config = Config()  # type: ignore[no-untyped-call]
    try:
        if trust.authority is not None:
            return config.use_certificate_verifier(certificate_chain=[trust.authority])
        if trust.key is not None:
            return config.use_elliptic_key_verifier(public_key=trust.key)
    except Exception as error:  # as above
        raise RequestError(
            f"{trust.named} cannot be used to check signatures: {_told(error)}; give a PEM file"
        ) from error
    raise RequestError("no key to check signatures with: set SLIPWAY_VERIFY_KEY")


@contextlib.contextmanager
def _as_files(manifest: bytes) -> Iterator[tuple[Path, Path]]:
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        file = Path(folder) / MANIFEST_NAME
        file.write_bytes(manifest)
        yield file, Path(folder) / SIGNATURE_NAME


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}") from error


def _needs_package() -> None:
    try:
        import model_signing.signing  # noqa: F401 - whether it is there
    except ImportError as error:
        raise EnvironmentMissing(
            f"signatures need {error.name!r}: pip install 'slipway[signing]'"
        ) from error


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
