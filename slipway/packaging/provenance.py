"""Where a bundle comes from, as an in-toto statement with SLSA's provenance as its predicate.

Subjects are the bundle's own files; what they were made from is among the resolved dependencies,
by digest. There is no time and no run in it: the same made again is the same statement, and so the
same bundle. When and by whom it was registered is the registry's to say.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from slipway.artifacts import TREE_MEDIA_TYPE, Digest, FileEntry
from slipway.errors import IntegrityError
from slipway.packaging.layout import PROVENANCE_NAME
from slipway.reports import Provenance

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:slipway:release:v1"
"""Its external parameter is the spec; its dependencies are the source, the data and the tools."""

_DATA: Final = "data/"
_SOURCE: Final = "source"


def make_statement(provenance: Provenance, *, subjects: Iterable[FileEntry]) -> dict[str, Any]:
    """The statement over a bundle's files, as JSON.

    https://slsa.dev/spec/v1.0/provenance and in-toto's Statement v1. A digest with the media type
    of a tree is that of a folder's list of files.
    """
    made_from = {_SOURCE: provenance.source_digest}
    made_from |= {f"{_DATA}{role}": digest for role, digest in provenance.data_digests.items()}
    folders = {role if role == _SOURCE else f"{_DATA}{role}" for role in provenance.folders}
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": file.path, "digest": _digest_set(file.digest)} for file in subjects],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"spec": provenance.spec},
                "internalParameters": {
                    "specDigest": _digest_set(provenance.spec_digest),
                    "python": provenance.python,
                    "platform": provenance.platform,
                },
                "resolvedDependencies": [
                    *(
                        _material(name, digest, name in folders)
                        for name, digest in made_from.items()
                    ),
                    *_tools(provenance.tools),
                ],
            },
            "runDetails": {
                "builder": {
                    # Whoever runs Slipway vouches for the machine by signing the bundle.
                    "id": package_url("slipway", provenance.tools.get("slipway", "0")),
                    "version": dict(sorted(provenance.tools.items())),
                },
            },
        },
    }


def read_data_digests(bundle: Path) -> dict[str, Digest]:
    """What a bundle was made from by role, the source included, as its statement says.

    Raises:
        IntegrityError: when there is no statement, or it is none of ours.
    """
    path = bundle / PROVENANCE_NAME
    try:
        content = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path} is no provenance of a bundle: {error}") from error
    return data_digests(content, where=str(path))


def data_digests(content: bytes, *, where: str) -> dict[str, Digest]:
    """The same of a statement's bytes."""
    try:
        statement = json.loads(content)
        found = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
        return {
            entry["name"].removeprefix(_DATA): f"sha256:{entry['digest']['sha256']}"
            for entry in found
            if "digest" in entry
        }
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"{where} is no provenance of a bundle: {error}") from error


def read_tools(statement: bytes) -> dict[str, str]:
    """The versions of the tools that a bundle was made with, as its statement says.

    Raises:
        IntegrityError: when it is none of ours.
    """
    try:
        return dict(json.loads(statement)["predicate"]["runDetails"]["builder"]["version"])
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"no provenance of a bundle: {error}") from error


def package_url(name: str, version: str) -> str:
    """A PyPI package's purl, which wants lower case and dashes in its name."""
    plain = name.lower().replace("_", "-").replace(".", "-")
    return f"pkg:pypi/{quote(plain)}@{quote(version, safe='')}"


def _material(name: str, digest: Digest, folder: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "digest": _digest_set(digest)}
    return {**found, "mediaType": TREE_MEDIA_TYPE} if folder else found


def _tools(tools: dict[str, str]) -> Iterator[dict[str, Any]]:
    for name, version in sorted(tools.items()):
        yield {"name": name, "uri": package_url(name, version)}


def _digest_set(digest: Digest) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
