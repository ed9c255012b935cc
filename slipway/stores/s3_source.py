"""Model and data files at s3:// addresses, downloaded to be put into the store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slipway.artifacts import CHUNK_BYTES, check_relative_path
from slipway.errors import RequestError, SourceNotFound
from slipway.settings import Settings
from slipway.stores.s3_client import open_client, translated


def download(uri: str, folder: Path, *, settings: Settings | None = None) -> Path:
    """Download `s3://BUCKET/KEY` into a folder: a file for an object, a folder for a prefix.

    Args:
        uri: The address; a key is taken as it is written, without percent-escapes. A key that
            ends in `/`, or that no object has, stands for all objects below it.
        folder: Where to.
        settings: The endpoint and the region; from the environment if None.

    Raises:
        SourceNotFound: when there is no such bucket or key.
        RequestError: when the address is none, or the credentials are refused.
        EnvironmentMissing: when boto3, or any credentials, are missing.
        StoreUnavailable: when the server does not answer, or is busy.
    """
    bucket, key = _parts(uri)
    client = open_client(settings or Settings())
    target = folder / _inside(key.rstrip("/").rpartition("/")[2] or bucket, uri)
    if key and not key.endswith("/"):
        try:
            _download_object(client, bucket, key, target)
        except SourceNotFound as error:
            if not _download_prefix(client, bucket, f"{key}/", target):
                raise SourceNotFound(f"{uri}: there is no such object ({error})") from error
    elif not _download_prefix(client, bucket, key, target):
        raise SourceNotFound(f"{uri}: no object's key begins with {key!r}")
    return target


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket:
        raise RequestError(f"{uri}: write s3://BUCKET/KEY")
    return bucket, key


def _download_object(client: Any, bucket: str, key: str, target: Path) -> None:  # noqa: ANN401
    """One object; a body that ends early is an error of the connection."""
    with translated(f"downloading s3://{bucket}/{key}"):
        body = client.get_object(Bucket=bucket, Key=key)["Body"]
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in body.iter_chunks(CHUNK_BYTES):
                file.write(chunk)


def _download_prefix(client: Any, bucket: str, prefix: str, target: Path) -> bool:  # noqa: ANN401
    """All objects below a prefix as a folder; whether there was one."""
    found = False
    for key in _keys(client, bucket, prefix):
        path = key.removeprefix(prefix)
        if path and not path.endswith("/"):  # else a marker that consoles make for a folder
            _download_object(client, bucket, key, target / _inside(path, f"s3://{bucket}/{key}"))
            found = True
    return found


def _keys(client: Any, bucket: str, prefix: str) -> Iterator[str]:  # noqa: ANN401
    with translated(f"listing s3://{bucket}/{prefix}"):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            yield from (entry["Key"] for entry in page.get("Contents", ()))


def _inside(path: str, uri: str) -> str:
    """A key as a path below a folder."""
    try:
        return check_relative_path(path)
    except ValueError as error:
        raise RequestError(f"{uri}: {error}; such a key cannot become a file") from error
