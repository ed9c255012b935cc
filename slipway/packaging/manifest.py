"""The manifest: which files a bundle holds, and by that which bundle it is."""

from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from slipway.artifacts import FileEntry, RelativePath, Sealed, Tree, Value, digest_bytes
from slipway.errors import IntegrityError
from slipway.packaging.layout import MANIFEST_NAME
from slipway.specs import Precision


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


class Manifest(Sealed):
    """All files of a bundle but the manifest itself; its digest is the bundle's identity.

    Equal bundles give equal bytes, since files are sorted and neither times nor places are
    recorded.
    """

    KIND: ClassVar[str] = "bundle manifest"

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
        manifest = super().from_json(data)
        Tree.from_json(Tree(files=manifest.files).to_json())  # refuses a path named twice
        served = {*(v.model for v in manifest.variants), *manifest.serving.values()}
        unlisted = served - {file.path for file in manifest.files}
        if unlisted:
            raise IntegrityError(f"the manifest serves {min(unlisted)} but does not list it")
        return manifest


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
