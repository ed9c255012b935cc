"""A tree of the store as a folder of plain names, for readers that know no digests.

The service copies its own objects: nothing travels through this machine, or through any server
between. MLflow, for one, reads a model as a folder.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from slipway.artifacts import FileEntry, Tree
from slipway.protocols import StoredObject
from slipway.stores.copying import DIGITS
from slipway.stores.s3_uploads import Place

_TOUCH_AFTER_S: Final = 86_400.0
_COPIES: Final = 8  # at once
_COPY_LIMIT: Final = 5 << 30  # S3 copies no larger object in one request


class _File(NamedTuple):
    size_bytes: int
    modified_s: float


def lay_out(
    client: Any,  # noqa: ANN401 - boto3 makes the type at run time
    tree: Tree,
    *,
    place_of: Callable[[str], Place],
    bucket: str,
    prefix: str,
    options: Mapping[str, str],
) -> None:
    """Copy a tree's objects to their names below a prefix; those that are there are left alone.

    A folder that was written long ago gets its last file anew: it is young then, and nobody who
    collects what is not referred to takes it from who is about to refer to it.

    The file that names the others comes last in a bundle's tree, but a reader must look for what
    it needs by itself: a folder in S3 has no moment in which it appears.

    Args:
        client: boto3's.
        tree: The files.
        place_of: Where an object of a digest is.
        bucket: Where to.
        prefix: Below what; ends with a slash, and belongs to this tree alone.
        options: What a copy is written with.

    Raises:
        botocore's errors, which the caller translates.
    """
    there = _files(client, bucket, prefix)

    def copy(file: FileEntry) -> None:
        source = dict(place_of(file.digest))
        target = {"Bucket": bucket, "Key": f"{prefix}{file.path}"}
        if file.size_bytes < _COPY_LIMIT:
            client.copy_object(**target, CopySource=source, **options)
        else:
            client.copy(source, **target, ExtraArgs=dict(options))

    missing = [
        file
        for file in tree.files
        if file.path not in there or there[file.path].size_bytes != file.size_bytes
    ]
    if not missing and _newest(there) < time.time() - _TOUCH_AFTER_S:
        missing = list(tree.files[-1:])
    with ThreadPoolExecutor(_COPIES, thread_name_prefix="slipway-s3") as pool:
        for done in [pool.submit(copy, file) for file in missing]:
            done.result()


def folders(client: Any, bucket: str, prefix: str) -> Iterator[StoredObject]:  # noqa: ANN401
    """The folders below a prefix: what names each, its size, and when it was last written."""
    found: defaultdict[str, dict[str, _File]] = defaultdict(dict)
    for path, file in _files(client, bucket, prefix).items():
        name, _, inside = path.partition("/")
        if DIGITS.fullmatch(name):
            found[name][inside] = file
    for name, files in found.items():
        yield StoredObject(
            digest=f"sha256:{name}",
            size_bytes=sum(file.size_bytes for file in files.values()),
            modified_s=_newest(files),
        )


def remove(client: Any, bucket: str, prefix: str, *, before: float) -> bool:  # noqa: ANN401
    """Remove a folder unless it was written since; whether it was."""
    there = _files(client, bucket, prefix)
    if not there or _newest(there) >= before:
        return False
    for path in there:
        client.delete_object(Bucket=bucket, Key=f"{prefix}{path}")
    return True


def _newest(files: Mapping[str, _File]) -> float:
    return max((file.modified_s for file in files.values()), default=0.0)


def _files(client: Any, bucket: str, prefix: str) -> dict[str, _File]:  # noqa: ANN401
    """The files below a prefix, by their names there."""
    return {
        entry["Key"].removeprefix(prefix): _File(
            int(entry["Size"]), entry["LastModified"].timestamp()
        )
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for entry in page.get("Contents", ())
    }
