"""Which format a file is, told from its bytes, and whether loading it could run code.

Nothing is loaded here: archives are read member by member, within bounds.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from slipway.errors import SourceNotFound, UnreadableModel, UntrustedSource
from slipway.exporters.programs import check_program

Format = Literal[
    "pt2", "torchscript", "torch-zip", "safetensors", "skops", "keras", "hdf5", "pickle-like"
]

_MAX_MEMBERS: Final = 200_000
_MAX_RATIO: Final = 1_000
_MAX_JSON_BYTES: Final = 256 << 20
# What torch.export.save writes of a program without custom objects, below the archive's own folder.
_PLAIN_MEMBER: Final = re.compile(
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id"
    r"|models/[^/]+\.json|extra/.+|data/sample_inputs/[^/]+\.pt"
    r"|data/weights/(weight_\d+|[^/]+_weights_config\.json)"
    r"|data/constants/(tensor_\d+|[^/]+_constants_config\.json)"
)
# torch.save's archive, and what joblib compresses with: zlib, gzip, bz2, xz, lzma, lz4.
_PICKLE_WRAPPERS: Final = (
    *(b"PK", b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x5d\x00", b"\x04\x22M\x18"),
)


def sniff(path: Path) -> Format:
    """The format by content; anything unknown counts as a pickle, the most dangerous.

    Raises:
        SourceNotFound: when there is none.
        UnreadableModel: when it is a folder, an empty file or a broken archive.
    """
    if not path.exists():
        raise SourceNotFound(f"there is no file at {path}")
    if path.is_dir():
        raise UnreadableModel(f"{path.name} is a folder; name the model's file")
    head = _head(path)
    if not head:
        raise UnreadableModel(f"{path.name} is empty")
    if head.startswith(b"PK"):
        return _sniff_zip(path)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return "hdf5"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and 0 < length <= path.stat().st_size - 8:
        return "safetensors"
    return "pickle-like"


def is_pickle(path: Path) -> bool:
    """Whether the bytes begin as pickles do, plain, compressed or in torch.save's archive.

    For the wording of a refusal alone: a pickle need not begin so.
    """
    head = _head(path)
    plain = head[:1] == b"\x80" and 0 < head[1] <= pickle.HIGHEST_PROTOCOL
    return plain or head.startswith(_PICKLE_WRAPPERS)


def check_pt2(path: Path) -> tuple[bytes, ...]:
    """Refuse a .pt2 archive that holds anything which loading would execute.

    `torch.export.load` runs code from six places: weights or constants whose config says
    `use_pickle`, custom and opaque objects, weights and sample inputs that the safe loader refuses
    (it falls back to a full unpickle), compiled models under data/aotinductor, which it loads as
    shared libraries, and texts of the program itself (see `programs`). So only members that a plain
    program has are let through, and each is looked at.

    Returns:
        The sample inputs' bytes, for the caller to prove harmless with torch's safe loader.

    Raises:
        UntrustedSource: naming the member.
        UnreadableModel: when the archive is broken or of an older layout.
    """
    samples: list[bytes] = []
    with _open_zip(path) as archive:
        for info in _members(archive, path):
            name = info.filename.partition("/")[2]
            if not _PLAIN_MEMBER.fullmatch(name):
                raise UntrustedSource(
                    f"{path.name} holds {info.filename}, which is not part of a plain program and "
                    "may run code when loaded; save the program with torch.export.save of torch "
                    "2.13, without custom objects and without compiling it"
                )
            if name.endswith("_config.json"):
                _refuse_pickled_payloads(archive, info, path)
            if name.startswith("models/"):
                check_program(_read(archive, info, path), f"{path.name}: {info.filename}")
            if name.startswith("data/sample_inputs/"):
                samples.append(_read(archive, info, path))
    return tuple(samples)


def read_json(path: Path, member: str) -> Any:  # noqa: ANN401 - anything that JSON can hold
    """A JSON member of an archive that `sniff` has looked at.

    Raises:
        UnreadableModel: when it is not there, too large or no JSON.
    """
    with _open_zip(path) as archive:
        found = [info for info in _members(archive, path) if info.filename == member]
        if not found or found[0].file_size > _MAX_JSON_BYTES:
            raise UnreadableModel(f"{path.name} holds no usable {member}")
        try:
            return json.loads(_read(archive, found[0], path))
        except (ValueError, RecursionError) as error:
            raise UnreadableModel(f"{path.name}: {member} is malformed ({error})") from error


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _sniff_zip(path: Path) -> Format:
    with _open_zip(path) as archive:
        members = [info.filename for info in _members(archive, path)]
    leaves = {name.rpartition("/")[2] for name in members}
    if "schema.json" in members:
        return "skops"
    if {"config.json", "metadata.json"}.issubset(members):
        return "keras"
    if "archive_format" in leaves:
        return "pt2"
    if "serialized_exported_program.json" in leaves:
        raise UnreadableModel(
            f"{path.name} was saved by an older torch; load it there and save it again with "
            "torch.export.save of torch 2.13"
        )
    if "data.pkl" in leaves:
        return "torchscript" if any("/code/" in name for name in members) else "torch-zip"
    raise UnreadableModel(f"{path.name} is a zip archive, but of no model format")


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise UnreadableModel(f"{path.name} is a broken archive ({error}); truncated?") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    try:
        return archive.read(info)
    except Exception as error:  # zipfile and zlib raise a dozen kinds on damaged members
        raise UnreadableModel(f"{path.name}: {info.filename} is damaged ({error})") from error


def _members(archive: zipfile.ZipFile, path: Path) -> Iterator[zipfile.ZipInfo]:
    """The members, refusing what no framework writes: doubles, escapes, bombs."""
    infos = archive.infolist()
    if len(infos) > _MAX_MEMBERS:
        raise UnreadableModel(f"{path.name} has {len(infos)} members; no model has so many")
    if min((member.header_offset for member in infos), default=0):
        # A .pt2 holds archives; the end of one of them is taken for the end of a truncated file.
        raise UnreadableModel(f"{path.name} does not begin with its archive; truncated?")
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise UntrustedSource(f"{path.name}: member {name!r} points outside the archive")
        if name.casefold() in seen:
            raise UntrustedSource(f"{path.name}: member {name!r} is there twice")
        seen.add(name.casefold())
        if info.file_size > _MAX_RATIO * max(info.compress_size, 1):
            raise UntrustedSource(f"{path.name}: member {name!r} is a decompression bomb")
        yield info


def _refuse_pickled_payloads(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    if info.file_size > _MAX_JSON_BYTES:
        raise UnreadableModel(f"{path.name}: {info.filename} is too large for a config")
    try:
        config = json.loads(_read(archive, info, path))
        payloads = dict(config.get("config", {})).items()
        pickled = [name for name, payload in payloads if payload.get("use_pickle") is not False]
    except (ValueError, AttributeError, TypeError) as error:
        raise UnreadableModel(f"{path.name}: {info.filename} is malformed ({error})") from error
    if pickled:
        raise UntrustedSource(
            f"{path.name}: {pickled[0]} is stored as a pickle, which runs code when loaded; "
            "save the model without tensor subclasses"
        )
