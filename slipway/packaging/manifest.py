"""The manifest: which files a bundle holds, and by that which bundle it is."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError

from slipway.artifacts import (
    Digest,
    FileEntry,
    RelativePath,
    Tree,
    Value,
    canonical_json,
    digest_bytes,
)
from slipway.errors import IntegrityError
from slipway.specs import Precision

MANIFEST_NAME: Final = "manifest.json"
MODEL_NAME: Final = "model.onnx"


def _is_empty(mapping: dict[str, str]) -> bool:
    """Bundles sealed before there was such a field have no place for it, and keep their digest."""
    return not mapping


class ManifestVariant(Value):
    """One precision: its model file and the bytes of all its files, external data included."""

    precision: Precision
    model: RelativePath
    size_bytes: int = Field(ge=0)
    session_config: dict[str, str] = Field(
        default_factory=dict,
        exclude_if=_is_empty,
        description="Entries that onnxruntime's sessions of it need on x64 processors without "
        "VNNI; elsewhere they only cost time.",
    )


class Manifest(Value):
    """All files of a bundle but the manifest itself.

    Round-trip law: `Manifest.from_json(manifest.to_json()) == manifest`; equal bundles give equal
    bytes, since files are sorted and neither times nor places are recorded.
    """

    schema_version: Literal[1] = 1
    name: str
    files: tuple[FileEntry, ...]
    variants: tuple[ManifestVariant, ...]
    selected: dict[str, Precision] = Field(description="The best variant per provider.")
    serving: dict[str, RelativePath] = Field(
        default_factory=dict,
        exclude_if=_is_empty,
        description="The file of recommended session settings per provider, from a sweep.",
    )

    @property
    def digest(self) -> Digest:
        """The bundle's identity: the digest of the manifest's bytes."""
        return digest_bytes(self.to_json())

    def to_json(self) -> bytes:
        """The canonical bytes, with a checksum over themselves.

        The checksum finds a rotten byte where nobody kept the bundle's digest. Against somebody
        who rewrites the manifest only that digest, kept elsewhere, or a signature helps.
        """
        content = self.model_dump(mode="json")
        return canonical_json({**content, "checksum": digest_bytes(canonical_json(content))})

    def tree(self) -> Tree:
        """All files of the bundle, this manifest included: what a store holds it as."""
        data = self.to_json()
        own = FileEntry(path=MANIFEST_NAME, digest=digest_bytes(data), size_bytes=len(data))
        return Tree(files=tuple(sorted((*self.files, own), key=lambda file: file.path)))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse and check the canonical bytes.

        Raises:
            IntegrityError: when they are no manifest, or not the bytes that were written.
        """
        try:
            fields = _Sealed.model_validate_json(data).model_dump()
        except ValidationError as error:
            raise IntegrityError(f"not a bundle manifest: {error}") from error
        fields.pop("checksum")
        manifest = cls.model_validate(fields)
        if manifest.to_json() != data:
            raise IntegrityError("the manifest's bytes were changed after it was written")
        Tree.from_json(Tree(files=manifest.files).to_json())  # refuses a path named twice
        served = {*(v.model for v in manifest.variants), *manifest.serving.values()}
        unlisted = served - {file.path for file in manifest.files}
        if unlisted:
            raise IntegrityError(f"the manifest serves {min(unlisted)} but does not list it")
        return manifest


class _Sealed(Manifest):
    checksum: Digest


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of an unpacked bundle.

    Raises:
        IntegrityError: when it is absent, unreadable, or not what was written.
    """
    try:
        return Manifest.from_json((bundle / MANIFEST_NAME).read_bytes())
    except OSError as error:
        raise IntegrityError(
            f"{bundle} has no readable manifest ({error.strerror}); is it a bundle?"
        ) from error


def bundle_tree(bundle: Path) -> Tree:
    """All files of a bundle, the manifest included, for putting it into a store.

    What lies beside them, such as the `registered_model_meta` that MLflow writes into whatever it
    loads, does not become part of the stored bundle.
    """
    return read_manifest(bundle).tree()
