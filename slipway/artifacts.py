"""References to bytes: digests, `ArtifactRef`, trees of files, and how they are hashed.

No storage here: where the bytes live is a store's business.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import from_json, to_json

from slipway.errors import IntegrityError

CHUNK_BYTES: Final = 1 << 20
TREE_MEDIA_TYPE: Final = "application/vnd.slipway.tree+json"
ONNX_MEDIA_TYPE: Final = "application/vnd.slipway.onnx"
BUNDLE_MEDIA_TYPE: Final = "application/vnd.slipway.bundle+json"
GOLDEN_MEDIA_TYPE: Final = "application/vnd.slipway.golden+npz"
OCTETS_MEDIA_TYPE: Final = "application/octet-stream"
_CHECKSUM: Final = "checksum"


def _for_forms(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Give a schema's fields an order and names, as forms show them.

    Prefect keeps schemas in Postgres, which forgets the order of keys, and its forms go by
    `position`. A field that holds a model has no title of its own unless it is given one.
    """
    schema["title"] = _in_words(model.__name__.removesuffix("Spec"))
    for position, (name, field) in enumerate(schema.get("properties", {}).items()):
        field["position"] = position
        field.setdefault("title", name.replace("_", " ").strip().title())


def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)


class Value(BaseModel):
    """A frozen value that refuses unknown fields: the base of all that crosses a boundary."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        serialize_by_alias=True,
        json_schema_extra=_for_forms,
        allow_inf_nan=False,  # JSON has neither, and a digest must have no two ways to say them
    )


def _check_digest(text: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", text):
        raise ValueError(f"{text!r} is not a digest; expected sha256: and 64 hexadecimal digits")
    return text


Digest = Annotated[str, AfterValidator(_check_digest)]


def check_relative_path(text: str) -> str:
    """Return a POSIX path that stays inside its folder, or raise ValueError.

    Refuses absolute paths, `..`, empty parts, backslashes, drive letters and NUL: whatever could
    name a file outside, on any system that may later unpack the tree.
    """
    path = PurePosixPath(text)
    parts = text.split("/")
    if (
        path.is_absolute()
        or any(part in {"", ".", ".."} for part in parts)
        or "\\" in text
        or "\0" in text
        or re.match(r"^[A-Za-z]:", text)
    ):
        raise ValueError(f"{text!r} is not a plain relative path")
    return text


RelativePath = Annotated[str, AfterValidator(check_relative_path)]


class ArtifactRef(Value):
    """All that travels between tasks: where the bytes are, and which bytes they are.

    Two references are the same content when their digests are equal; `uri` is only a place.
    """

    uri: str = Field(description="Where the bytes were put, for people and for fetching.")
    digest: Digest = Field(description="`sha256:` and the hexadecimal digest of the bytes.")
    size_bytes: int = Field(ge=0, description="Size of the bytes; of all files for a tree.")
    media_type: str = Field(default=OCTETS_MEDIA_TYPE, description="What the bytes are.")

    @property
    def is_tree(self) -> bool:
        """Whether the bytes are a tree manifest that names further files."""
        return self.media_type in {TREE_MEDIA_TYPE, BUNDLE_MEDIA_TYPE}


class FileEntry(Value):
    """One file of a tree: its POSIX path relative to the tree's root, its digest and size."""

    path: RelativePath
    digest: Digest
    size_bytes: int = Field(ge=0)


class Tree(Value):
    """A folder's content as a sorted list of files.

    Round-trip law: `Tree.from_json(tree.to_json()) == tree`, and equal folders give equal bytes,
    since paths are sorted and nothing but path, digest and size is recorded (no times, no modes).
    """

    files: tuple[FileEntry, ...]

    def to_json(self) -> bytes:
        """The canonical bytes, whose digest is the tree's identity."""
        return canonical_json({"files": [file.model_dump() for file in self.files]})

    @classmethod
    def from_json(cls, data: bytes) -> "Tree":
        """Parse the canonical bytes.

        Raises:
            IntegrityError: when they are no tree, or name a path twice or outside.
        """
        try:
            tree = cls.model_validate_json(data)
        except ValueError as error:
            raise IntegrityError(f"not a tree manifest: {error}") from error
        paths = [file.path for file in tree.files]
        if len({path.casefold() for path in paths}) != len(paths):
            raise IntegrityError("the tree manifest names a path twice")
        return tree

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.size_bytes for file in self.files)


class Sealed(Value):
    """A value that is kept as its canonical bytes, with a checksum over themselves.

    Round-trip law: `T.from_json(value.to_json()) == value`, and there is one way to write a value.
    The checksum finds a rotten byte where nobody kept the digest; against somebody who rewrites the
    bytes only that digest, kept elsewhere, or a signature helps.
    """

    KIND: ClassVar[str]
    """What it is called in messages."""

    def to_json(self) -> bytes:
        """The canonical bytes."""
        content = self.model_dump(mode="json")
        return canonical_json({**content, _CHECKSUM: digest_bytes(canonical_json(content))})

    @property
    def digest(self) -> Digest:
        """The digest of its bytes, by which others refer to it."""
        return digest_bytes(self.to_json())

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse and check the canonical bytes.

        Raises:
            IntegrityError: when they are none of these, or not the bytes that were written.
        """
        try:
            content = from_json(data)
            if isinstance(content, dict):
                content.pop(_CHECKSUM, None)
            value = cls.model_validate_json(to_json(content))
        except ValueError as error:
            raise IntegrityError(f"not a {cls.KIND}: {error}") from error
        if value.to_json() != data:
            raise IntegrityError(f"the {cls.KIND}'s bytes were changed after it was written")
        return value


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - anything that JSON can hold
    """JSON with sorted keys and no spaces, refusing NaN: equal values give equal bytes."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_bytes(data: bytes) -> str:
    """The digest of bytes in memory."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """The digest of a file, read in chunks."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def walk_files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield (relative POSIX path, path) for every file under root, sorted by relative path.

    Raises:
        IntegrityError: at a symbolic link or anything else that is neither file nor folder, named.
    """
    found: list[tuple[str, Path]] = []
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        if path.is_symlink():
            raise IntegrityError(f"{relative} is a symbolic link; only plain files are sealed")
        if path.is_file():
            found.append((relative, path))
        elif not path.is_dir():
            raise IntegrityError(f"{relative} is neither a file nor a folder")
    yield from sorted(found)


def describe_tree(root: Path) -> Tree:
    """Hash every file under root into a `Tree`."""
    return Tree(
        files=tuple(
            FileEntry(path=relative, digest=digest_file(path), size_bytes=path.stat().st_size)
            for relative, path in walk_files(root)
        )
    )
