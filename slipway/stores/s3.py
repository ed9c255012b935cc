"""Bytes in a bucket, named by their digest: `s3://BUCKET/PREFIX/sha256/ab/abcdef...`.

Works with every service that speaks S3; which one, and with what keys, `s3_client` says. Beside
the objects there are `quarantine/`, for what was found damaged, and `records/` (see `s3_records`).
How bytes get there in parts, and go on after a crash, is in `s3_uploads`.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from slipway.artifacts import OCTETS_MEDIA_TYPE, ArtifactRef, Tree, digest_bytes, digest_file
from slipway.errors import (
    IntegrityError,
    RequestError,
    SlipwayError,
    SourceNotFound,
    StoreUnavailable,
    os_failure,
)
from slipway.protocols import StoredObject
from slipway.settings import Settings
from slipway.stores.copying import DIGITS, describe_file, digits_of, record_path
from slipway.stores.s3_client import code_of, open_client, translated
from slipway.stores.s3_folders import folders, lay_out, remove
from slipway.stores.s3_records import create_once
from slipway.stores.s3_uploads import PART_BYTES, abort_unfinished, upload_bytes, upload_file
from slipway.stores.traffic import count

DOWNLOADS: Final = 8
"""Ranges of one object that are fetched at once."""
_TOUCH_AFTER_S: Final = 86_400.0
_COPY_LIMIT: Final = 5 << 30  # S3 copies no larger object in one request


class S3Store:
    """A bucket, or what lies below a prefix in it, of objects that are complete or not there.

    S3 shows an object when its last byte has arrived, so a writer that is killed leaves nothing
    that could be read; the parts that it sent are used by the next writer of the same bytes. Two
    writers of one digest write the same bytes under the same name, and where the service can
    refuse to overwrite, the second one is told that it is late, which is as good.

    What is read is hashed here: no service's own checksum is trusted for that. An object found
    damaged is moved to `quarantine/`, so that `contains` says the truth and making it again heals
    the store.
    """

    def __init__(self, uri: str, *, settings: Settings | None = None) -> None:
        """Over `s3://BUCKET` or `s3://BUCKET/PREFIX`; nothing is asked of the server yet.

        Raises:
            RequestError: when the address names no bucket.
        """
        bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
        if not bucket:
            raise RequestError(f"{uri}: write s3://BUCKET or s3://BUCKET/PREFIX")
        self.uri = "/".join(filter(None, ("s3:/", bucket, prefix)))
        self._bucket, self._prefix = bucket, f"{prefix}/" if prefix else ""
        self._settings = settings or Settings()

    def put_file(self, path: Path, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Store a file; of one that is there already, nothing is sent."""
        digest, size = describe_file(path)
        if not self._holds(digest, size):
            with self._asking(f"storing {path.name} in {self.uri}"):
                upload_file(self._client, path, digest, self._place(digest), self._options)
            count(written_bytes=size)
        return self._ref(digest, size, media_type)

    def put_bytes(self, data: bytes, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Store bytes from memory."""
        digest = digest_bytes(data)
        if not self._holds(digest, len(data)):
            with self._asking(f"storing {len(data)} bytes in {self.uri}"):
                upload_bytes(self._client, data, self._place(digest), self._options)
            count(written_bytes=len(data))
        return self._ref(digest, len(data), media_type)

    def fetch_file(self, digest: str, target: Path) -> None:
        """Download an object to a new file, which appears when it is complete and verified.

        Large objects come in ranges, several at once.
        """
        if target.exists() or target.is_symlink():
            raise RequestError(f"{target} exists already; fetch to a new path")
        place = self._place(digest)
        temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._reading(digest):
                self._client.download_file(
                    place["Bucket"], place["Key"], str(temporary), Config=self._transfer
                )
            if (found := digest_file(temporary)) != digest:
                raise self._damaged(digest, found)
            temporary.replace(target)
            count(read_bytes=target.stat().st_size)
        except OSError as error:
            raise os_failure(
                error, f"fetching {digest} to {target}", transient=StoreUnavailable
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    def read_bytes(self, digest: str) -> bytes:
        """The bytes, hashed after reading."""
        with self._reading(digest):
            data: bytes = self._client.get_object(**self._place(digest))["Body"].read()
        if (found := digest_bytes(data)) != digest:
            raise self._damaged(digest, found)
        count(read_bytes=len(data))
        return data

    def contains(self, digest: str) -> bool:
        """Whether the object is there."""
        return self._head(digest) is not None

    def listing(self) -> Iterator[StoredObject]:
        """All objects, from their names."""
        prefix = f"{self._prefix}sha256/"
        with self._asking(f"listing {self.uri}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    name = entry["Key"].rpartition("/")[2]
                    if DIGITS.fullmatch(name):
                        yield StoredObject(
                            digest=f"sha256:{name}",
                            size_bytes=entry["Size"],
                            modified_s=entry["LastModified"].timestamp(),
                        )

    def digests(self) -> Iterator[str]:
        """All digests, from the objects' names."""
        return (stored.digest for stored in self.listing())

    def delete(self, digest: str) -> None:
        """Remove the object."""
        with self._asking(f"deleting {digest} in {self.uri}"):
            self._client.delete_object(**self._place(digest))

    def sweep(self, before: float) -> int:
        """End uploads in parts that began before a time; their parts cost money for ever."""
        with self._asking(f"ending unfinished uploads in {self.uri}"):
            return abort_unfinished(
                self._client, self._bucket, f"{self._prefix}sha256/", before=before
            )

    def lay_out(self, tree: Tree, digest: str) -> str:
        """Copy a tree's objects within the bucket to a folder of plain names; its address.

        Args:
            tree: The files, all of them in the store.
            digest: What names the folder.
        """
        prefix = self._folder(digest)
        with self._asking(f"laying {digest} out in {self.uri}"):
            lay_out(
                self._client,
                tree,
                place_of=self._place,
                bucket=self._bucket,
                prefix=prefix,
                options=self._options,
            )
        return f"s3://{self._bucket}/{prefix}".rstrip("/")

    def folders(self) -> Iterator[StoredObject]:
        """Trees that were laid out."""
        with self._asking(f"listing the folders of {self.uri}"):
            yield from folders(self._client, self._bucket, f"{self._prefix}bundles/")

    def remove_folder(self, digest: str, *, before: float) -> bool:
        """Remove a tree that was laid out, unless it was written since a time."""
        with self._asking(f"removing the folder of {digest} in {self.uri}"):
            return remove(self._client, self._bucket, self._folder(digest), before=before)

    def create_record(self, name: str, data: bytes) -> bool:
        """Write a record by a conditional put, on a service that lets only one of several win."""
        with self._asking(f"storing the record {name} in {self.uri}"):
            return create_once(
                self._client, self._record(name), data, self._options, race=f"{self._prefix}race/"
            )

    def read_record(self, name: str) -> bytes:
        """A record's bytes."""
        with self._asking(f"reading the record {name} in {self.uri}"):
            data: bytes = self._client.get_object(**self._record(name))["Body"].read()
        return data

    def records(self, folder: str) -> tuple[str, ...]:
        """Names of all records below a folder."""
        root = f"{self._prefix}records/"
        with self._asking(f"listing the records of {self.uri}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=f"{root}{record_path(folder)}/"
            )
            keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return tuple(sorted(key.removeprefix(root) for key in keys))

    def _folder(self, digest: str) -> str:
        return f"{self._prefix}bundles/{digits_of(digest)}/"

    def _record(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}records/{record_path(name)}"}

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes the type at run time
        return open_client(self._settings)

    @cached_property
    def _transfer(self) -> Any:  # noqa: ANN401 - as above
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(
            multipart_threshold=2 * PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=DOWNLOADS,
            preferred_transfer_client="classic",
        )

    @property
    def _options(self) -> dict[str, str]:
        """What every new object is written with."""
        asked = {
            "ServerSideEncryption": self._settings.s3_encryption,
            "SSEKMSKeyId": self._settings.s3_kms_key_id,
            "ACL": self._settings.s3_acl,
        }
        return {name: value for name, value in asked.items() if value}

    def _place(self, digest: str) -> dict[str, str]:
        name = digits_of(digest)
        return {"Bucket": self._bucket, "Key": f"{self._prefix}sha256/{name[:2]}/{name}"}

    def _head(self, digest: str) -> Any:  # noqa: ANN401 - as above
        """What the server says of the object; None where there is none."""
        place = self._place(digest)
        with self._asking(f"looking for {digest} in {self.uri}"):
            try:
                return self._client.head_object(**place)
            except self._client.exceptions.ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                if status == HTTPStatus.NOT_FOUND:
                    return None
                if status == HTTPStatus.FORBIDDEN:
                    # The answer to HEAD has no body, and so no reason; to GET it has.
                    self._client.get_object(**place)["Body"].close()
                raise

    def _holds(self, digest: str, size: int) -> bool:
        """Whether the object is there at its full size.

        One that has not been touched for long counts as new then, so that nobody who collects what
        is not referred to takes it from the writer that has just found it.
        """
        found = self._head(digest)
        if found is None:
            return False
        if int(found["ContentLength"]) != size:
            self._set_aside(digest)  # it would be taken for what another writer has just made
            return False
        if time.time() - found["LastModified"].timestamp() > _TOUCH_AFTER_S and size < _COPY_LIMIT:
            place = self._place(digest)
            with self._asking(f"touching {digest} in {self.uri}"):
                self._client.copy_object(
                    **place, CopySource=place, MetadataDirective="REPLACE", **self._options
                )
        return True

    @contextlib.contextmanager
    def _asking(self, doing: str) -> Iterator[None]:
        """Translate errors; without its bucket, the store is misconfigured rather than empty."""
        try:
            with translated(doing):
                yield
        except SourceNotFound as error:
            if code_of(error.__cause__) != "NoSuchBucket":
                raise
            raise RequestError(
                f"{error}; make the bucket {self._bucket}, or correct SLIPWAY_STORE"
            ) from error

    @contextlib.contextmanager
    def _reading(self, digest: str) -> Iterator[None]:
        try:
            with self._asking(f"reading {digest} in {self.uri}"):
                yield
        except SourceNotFound as error:
            raise SourceNotFound(f"{self.uri} holds no {digest} ({error})") from error

    def _damaged(self, digest: str, found: str) -> IntegrityError:
        place = self._place(digest)
        return IntegrityError(
            f"s3://{self._bucket}/{place['Key']} holds {found}, not what its name says"
            f"{self._set_aside(digest)}; make the artifact again"
        )

    def _set_aside(self, digest: str) -> str:
        """Move a damaged object to where it is not read; say where, if that could be done."""
        place = self._place(digest)
        aside = f"{self._prefix}quarantine/{place['Key'].rpartition('/')[2]}"
        with contextlib.suppress(SlipwayError), translated(f"setting {digest} aside"):
            self._client.copy_object(Bucket=self._bucket, Key=aside, CopySource=place)
            self._client.delete_object(**place)
            return f"; set aside as s3://{self._bucket}/{aside}"
        return ""

    def _ref(self, digest: str, size: int, media_type: str) -> ArtifactRef:
        return ArtifactRef(
            uri=f"s3://{self._bucket}/{self._place(digest)['Key']}",
            digest=digest,
            size_bytes=size,
            media_type=media_type,
        )
