"""A bundle in a store, read file by file without unpacking it, each verified by its digest."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ValidationError

from slipway.artifacts import Digest
from slipway.errors import IntegrityError, RequestError, SlipwayError, SourceNotFound
from slipway.packaging.manifest import Manifest
from slipway.protocols import Store
from slipway.reports import RegisteredVersion

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class StoredBundle:
    """A registered version's bundle in the store."""

    store: Store
    version: RegisteredVersion
    manifest: Manifest

    @classmethod
    def of(cls, store: Store, version: RegisteredVersion) -> Self:
        """The bundle of a version; the manifest's digest is its identity.

        Raises:
            SourceNotFound: when the store has no such bundle.
            IntegrityError: when the bytes are not the manifest.
        """
        digest: Digest = version.bundle_digest
        try:
            manifest = Manifest.from_json(store.read_bytes(digest))
        except SourceNotFound as error:
            raise SourceNotFound(
                f"version {version.version} of {version.name} is bundle {digest}, which is not in "
                f"{store.uri}; set SLIPWAY_STORE to the store that its release wrote to"
            ) from error
        return cls(store, version, manifest)

    def read(self, path: str) -> bytes:
        """A file of it.

        Raises:
            RequestError: when the bundle was made without one.
            IntegrityError: when the file is gone from the store, or not the one that was sealed.
        """
        entry = next((file for file in self.manifest.files if file.path == path), None)
        if entry is None:
            raise RequestError(
                f"{self} holds no {path}: another Slipway made it, or no release; release it again"
            )
        try:
            return self.store.read_bytes(entry.digest)
        except (SourceNotFound, IntegrityError) as error:
            raise self._unsound(path, error) from error

    def parse(self, path: str, kind: type[Model]) -> Model:
        """A JSON file of it.

        Raises:
            RequestError: when another Slipway wrote it in a way that this one cannot read.
            IntegrityError: as `read` does.
        """
        try:
            return kind.model_validate_json(self.read(path))
        except ValidationError as error:
            raise RequestError(
                f"{self} has a {path} that this Slipway cannot read ({error.error_count()} fields, "
                f"first {error.errors()[0]['loc']}: {error.errors()[0]['msg']}); release it again"
            ) from error

    def verify(self) -> int:
        """Read every file again; how many there are.

        Raises:
            IntegrityError: naming the file that is gone, or not the one that was sealed.
        """
        with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
            copy = Path(folder) / "copy"
            for file in self.manifest.files:
                try:
                    self.store.fetch_file(file.digest, copy)
                except (SourceNotFound, IntegrityError) as error:
                    raise self._unsound(file.path, error) from error
                copy.unlink()
        return len(self.manifest.files)

    def __str__(self) -> str:
        """As messages name it."""
        return f"version {self.version.version} of {self.version.name}"

    def _unsound(self, path: str, error: SlipwayError) -> IntegrityError:
        return IntegrityError(
            f"{self} is not whole: {path}: {error}; run its release again, which stores the same "
            "bytes anew"
        )
