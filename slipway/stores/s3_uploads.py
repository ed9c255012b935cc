"""Uploads to S3 that a crash does not start over, and that nobody sees half done.

boto3's own transfer begins again from the first byte after any interruption, and leaves the parts
that it sent behind. Here the parts of an unfinished upload of the same object are taken over when
their bytes are the same. What travels is protected by TLS, or by the signature over its SHA-256
where there is none, and by boto3's checksums where the service has them; what was sent is hashed
once more on its way, so that a file that changes meanwhile is never completed.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from slipway.errors import IntegrityError, StoreUnavailable
from slipway.stores.s3_client import code_of

logger = logging.getLogger(__name__)

PART_BYTES: Final = 8 << 20
"""The size of a part; at most 10,000 make an object, so larger files get larger parts."""
_MOST_PARTS: Final = 10_000
_UPLOADS: Final = 8  # parts on their way at once, as many as are held in memory

Place = Mapping[str, str]
"""`Bucket` and `Key`."""


def upload_file(
    client: Any,  # noqa: ANN401 - boto3 makes the type at run time
    path: Path,
    digest: str,
    place: Place,
    options: Mapping[str, str],
) -> None:
    """Send a file, in parts where it is large; go on where an earlier upload was cut off.

    Args:
        client: boto3's.
        path: The file.
        digest: What it hashes to.
        place: Where to.
        options: What `put_object` and `create_multipart_upload` are given besides.

    Raises:
        IntegrityError: when the file is no longer what `digest` says; nothing is there then.
        botocore's errors, which the caller translates.
    """
    size = path.stat().st_size
    if size <= PART_BYTES:
        data = path.read_bytes()
        _must_be(digest, hashlib.sha256(data), path)
        upload_bytes(client, data, place, options)
        return
    part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
    upload, sent = _unfinished(client, place)
    if upload is None:
        upload = client.create_multipart_upload(**place, **options)["UploadId"]
    try:
        parts = _send(client, path, digest, {**place, "UploadId": upload}, sent, part_bytes)
        _complete(client, {**place, "UploadId": upload}, parts)
    except client.exceptions.ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise
        # Another writer of the same bytes took the upload over, and was first to complete it.
        _must_be_there(client, place)


def upload_bytes(
    client: Any,  # noqa: ANN401 - as above
    data: bytes,
    place: Place,
    options: Mapping[str, str],
) -> None:
    """Send bytes as one object, unless it was made meanwhile."""
    try:
        client.put_object(**place, Body=data, **options, IfNoneMatch="*")
    except client.exceptions.ClientError as error:
        status = _status(error)
        if status == HTTPStatus.PRECONDITION_FAILED:
            return
        if status not in {HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.CONFLICT}:
            raise
        # The service cannot refuse to overwrite, or two writers met: the bytes are the same.
        client.put_object(**place, Body=data, **options)


def _send(
    client: Any,  # noqa: ANN401
    path: Path,
    digest: str,
    upload: Place,
    sent: Mapping[int, str],
    part_bytes: int,
) -> list[dict[str, Any]]:
    """Send the parts that are not there; the list that completes the upload."""
    hashing = hashlib.sha256()
    tags: dict[int, Future[str]] = {}
    with path.open("rb") as file, closing(_Pool(_UPLOADS)) as pool:
        for number, data in enumerate(iter(lambda: file.read(part_bytes), b""), start=1):
            hashing.update(data)
            tags[number] = pool.submit(client, upload, number, data, sent.get(number))
        parts = [{"PartNumber": n, "ETag": tag.result()} for n, tag in tags.items()]
    try:
        _must_be(digest, hashing, path)
    except IntegrityError:
        client.abort_multipart_upload(**upload)
        raise
    return parts


class _Pool:
    """Threads that send parts; `submit` waits while as many as there are threads are held."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="slipway-s3")
        self._running: list[Future[str]] = []

    def submit(
        self,
        client: Any,  # noqa: ANN401
        upload: Place,
        number: int,
        data: bytes,
        known: str | None,
    ) -> Future[str]:
        if len(self._running) >= self._threads:
            self._running.pop(0).result()
        self._running.append(self._pool.submit(_send_part, client, upload, number, data, known))
        return self._running[-1]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _send_part(
    client: Any,  # noqa: ANN401
    upload: Place,
    number: int,
    data: bytes,
    known: str | None,
) -> str:
    """The part's tag; nothing is sent where the service has these bytes already."""
    if (
        known is not None
        and known.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
    ):
        return known
    answer = client.upload_part(**upload, PartNumber=number, Body=data)
    return str(answer["ETag"])


def _complete(client: Any, upload: Place, parts: list[dict[str, Any]]) -> None:  # noqa: ANN401
    asked = {**upload, "MultipartUpload": {"Parts": parts}}
    try:
        client.complete_multipart_upload(**asked, IfNoneMatch="*")
    except client.exceptions.ClientError as error:
        if _status(error) == HTTPStatus.PRECONDITION_FAILED:
            _abort(client, upload)
        elif _status(error) == HTTPStatus.NOT_IMPLEMENTED:
            client.complete_multipart_upload(**asked)
        else:
            raise


def _must_be_there(client: Any, place: Place) -> None:  # noqa: ANN401
    """Look with GET: the answer to HEAD has no body to say that the whole bucket is gone."""
    try:
        client.get_object(**place, Range="bytes=0-0")["Body"].close()
    except client.exceptions.NoSuchKey as error:
        raise StoreUnavailable(
            f"the upload of {place['Key']} was ended by somebody else; it begins anew next time"
        ) from error


def _unfinished(client: Any, place: Place) -> tuple[str | None, dict[int, str]]:  # noqa: ANN401
    """The newest unfinished upload of the same object, and the tags of its parts by number."""
    found = [
        entry
        for page in client.get_paginator("list_multipart_uploads").paginate(
            Bucket=place["Bucket"], Prefix=place["Key"]
        )
        for entry in page.get("Uploads", ())
        if entry["Key"] == place["Key"]
    ]
    for entry in sorted(found, key=lambda entry: entry["Initiated"], reverse=True):
        try:
            sent = dict(_parts(client, {**place, "UploadId": entry["UploadId"]}))
        except client.exceptions.NoSuchUpload:  # completed or aborted meanwhile
            continue
        logger.info("%s: %d parts were sent before", place["Key"], len(sent))
        return str(entry["UploadId"]), sent
    return None, {}


def _parts(client: Any, upload: Place) -> Iterator[tuple[int, str]]:  # noqa: ANN401
    for page in client.get_paginator("list_parts").paginate(**upload):
        for part in page.get("Parts", ()):
            yield int(part["PartNumber"]), str(part["ETag"])


def abort_unfinished(client: Any, bucket: str, prefix: str, *, before: float) -> int:  # noqa: ANN401
    """End the uploads below a prefix that began before a time; how many there were.

    Args:
        client: boto3's.
        bucket: Where.
        prefix: Below what.
        before: Seconds since 1970.
    """
    ended = 0
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
    for page in pages:
        for entry in page.get("Uploads", ()):
            if entry["Initiated"].timestamp() < before:
                _abort(client, {k: entry[k] for k in ("Key", "UploadId")} | {"Bucket": bucket})
                ended += 1
    return ended


def _abort(client: Any, upload: Place) -> None:  # noqa: ANN401
    try:
        client.abort_multipart_upload(**upload)
    except client.exceptions.NoSuchUpload:
        return  # ended by another writer


def _must_be(digest: str, hashing: Any, path: Path) -> None:  # noqa: ANN401 - hashlib's has no name
    if (found := f"sha256:{hashing.hexdigest()}") != digest:
        raise IntegrityError(
            f"{path} became {found} while it was stored as {digest}; is something writing there?"
        )


def _status(error: Any) -> int:  # noqa: ANN401
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
