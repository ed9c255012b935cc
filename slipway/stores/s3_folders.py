"""A tree of the store as a folder of plain names, for readers that know no digests.

The service copies its own objects: nothing travels through this machine, or through any server
between. MLflow, for one, reads a model as a folder.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from slipway.artifacts import FileEntry, Tree
from slipway.stores.s3_uploads import Place

_COPIES: Final = 8  # at once
_COPY_LIMIT: Final = 5 << 30  # S3 copies no larger object in one request


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
    there = _sizes(client, bucket, prefix)

    def copy(file: FileEntry) -> None:
        source = dict(place_of(file.digest))
        target = {"Bucket": bucket, "Key": f"{prefix}{file.path}"}
        if file.size_bytes < _COPY_LIMIT:
            client.copy_object(**target, CopySource=source, **options)
        else:
            client.copy(source, **target, ExtraArgs=dict(options))

    missing = [file for file in tree.files if there.get(file.path) != file.size_bytes]
    with ThreadPoolExecutor(_COPIES, thread_name_prefix="slipway-s3") as pool:
        for done in [pool.submit(copy, file) for file in missing]:
            done.result()


def _sizes(client: Any, bucket: str, prefix: str) -> dict[str, int]:  # noqa: ANN401 - as above
    """The files below a prefix, and their sizes."""
    return {
        entry["Key"].removeprefix(prefix): int(entry["Size"])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for entry in page.get("Contents", ())
    }
