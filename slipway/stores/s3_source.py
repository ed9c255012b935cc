"""Model and data files at s3:// addresses, downloaded to be put into the store."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from slipway.artifacts import CHUNK_BYTES, check_relative_path
from slipway.errors import RequestError, SourceNotFound
from slipway.settings import Settings
from slipway.stores.s3_client import open_client, translated


class Download(NamedTuple):
    """What was downloaded: a file or a folder, and by which marks it is known again."""

    path: Path
    marks: dict[str, str]
    """ETag and size by key; empty where the server's ETags promise nothing."""


def download(uri: str, folder: Path, *, settings: Settings | None = None) -> Download:
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
            marks = {key: _download_object(client, bucket, key, target)}
        except SourceNotFound as error:
            marks = _download_prefix(client, bucket, f"{key}/", target)
            if not marks:
                raise SourceNotFound(f"{uri}: there is no such object ({error})") from error
    else:
        marks = _download_prefix(client, bucket, key, target)
        if not marks:
            raise SourceNotFound(f"{uri}: no object's key begins with {key!r}")
    return Download(target, marks if all(marks.values()) else {})


def current_marks(uri: str, *, settings: Settings | None = None) -> dict[str, str]:
    """The marks of what stands at `s3://BUCKET/KEY` now; nothing is downloaded.

    S3 changes the ETag with every writing: it is the MD5 of what was written, or of its parts.

    Raises:
        StoreUnavailable, SourceNotFound, RequestError, EnvironmentMissing: as `download` does.
    """
    bucket, key = _parts(uri)
    client = open_client(settings or Settings())
    if key and not key.endswith("/"):
        try:
            with translated(f"looking at {uri}"):
                return {key: _mark(client.head_object(Bucket=bucket, Key=key))}
        except SourceNotFound:
            key = f"{key}/"
    return {
        entry["Key"]: _mark(entry)
        for entry in _listing(client, bucket, key)
        if _below(key, entry["Key"])
    }


def server_of(settings: Settings) -> str:
    """Which server an s3:// address is on."""
    return str(open_client(settings).meta.endpoint_url)


def _mark(answer: Mapping[str, Any]) -> str:
    """What changes when an object does; empty where there is only a weak ETag, or none."""
    tag = str(answer.get("ETag", ""))
    size = answer.get("ContentLength", answer.get("Size"))
    return "" if not tag or tag.startswith("W/") else f"{tag} {size}"


def _parts(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not bucket:
        raise RequestError(f"{uri}: write s3://BUCKET/KEY")
    return bucket, key


def _download_object(client: Any, bucket: str, key: str, target: Path) -> str:  # noqa: ANN401
    """One object, and its mark; a body that ends early is an error of the connection."""
    with translated(f"downloading s3://{bucket}/{key}"):
        answer = client.get_object(Bucket=bucket, Key=key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for chunk in answer["Body"].iter_chunks(CHUNK_BYTES):
                file.write(chunk)
    return _mark(answer)


def _download_prefix(client: Any, bucket: str, prefix: str, target: Path) -> dict[str, str]:  # noqa: ANN401
    """All objects below a prefix as a folder: their marks by key."""
    marks = {}
    for key in (entry["Key"] for entry in _listing(client, bucket, prefix)):
        if path := _below(prefix, key):
            place = target / _inside(path, f"s3://{bucket}/{key}")
            marks[key] = _download_object(client, bucket, key, place)
    return marks


def _below(prefix: str, key: str) -> str:
    """A key's path below a prefix; empty for a marker that consoles make for a folder."""
    return "" if key.endswith("/") else key.removeprefix(prefix)


def _listing(client: Any, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:  # noqa: ANN401
    with translated(f"listing s3://{bucket}/{prefix}"):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            yield from page.get("Contents", ())


def _inside(path: str, uri: str) -> str:
    """A key as a path below a folder."""
    try:
        return check_relative_path(path)
    except ValueError as error:
        raise RequestError(f"{uri}: {error}; such a key cannot become a file") from error
