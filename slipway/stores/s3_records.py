"""Objects in S3 that are written once: of several writers, exactly one.

The condition If-None-Match is what decides, so a service must be known to keep it. Some refuse it,
some accept it and overwrite, and some keep it except when two writers meet: each is found out by a
race before the first record of a process is written.
"""

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final

from slipway.errors import EnvironmentMissing

_RACERS: Final = 8
_ATTEMPTS: Final = 3  # where two writers met and the service decided for neither


def create_once(
    client: Any,  # noqa: ANN401 - boto3 makes the type at run time
    place: Mapping[str, str],
    data: bytes,
    options: Mapping[str, str],
    *,
    race: str,
) -> bool:
    """Put an object unless one is there; whether the bytes there are now these.

    Args:
        client: boto3's.
        place: `Bucket` and `Key`.
        data: The bytes, the writer's own.
        options: What `put_object` is given besides.
        race: What the keys begin with at which the service is tried.

    Raises:
        EnvironmentMissing: when the service lets more than one writer win, or none.
        botocore's errors, which the caller translates.
    """
    _must_decide(client, place["Bucket"], race, tuple(options.items()))
    if _put(client, place, data, options):
        return True
    # Lost; or an earlier attempt of this very call was written, and only its answer was lost.
    found: bytes = client.get_object(**place)["Body"].read()
    return found == data


def _put(client: Any, place: Mapping[str, str], data: bytes, options: Mapping[str, str]) -> bool:  # noqa: ANN401
    for attempt in range(_ATTEMPTS):
        try:
            client.put_object(**place, Body=data, **options, IfNoneMatch="*")
        except client.exceptions.ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == HTTPStatus.PRECONDITION_FAILED:
                return False
            if status == HTTPStatus.NOT_IMPLEMENTED:
                raise _unfit("refuses the condition If-None-Match") from error
            if status != HTTPStatus.CONFLICT or attempt == _ATTEMPTS - 1:
                raise
        else:
            return True
    return False


@lru_cache(maxsize=8)
def _must_decide(
    client: Any,  # noqa: ANN401
    bucket: str,
    race: str,
    options: tuple[tuple[str, str], ...],
) -> None:
    """Let several writers race for one new object.

    A service that passes may still fail later, by bad luck: one winner of many races is no proof.
    """
    place = {"Bucket": bucket, "Key": f"{race}{secrets.token_hex(8)}"}
    with ThreadPoolExecutor(_RACERS) as pool:
        racing = [
            pool.submit(_put, client, place, str(racer).encode(), dict(options))
            for racer in range(_RACERS)
        ]
        try:
            winners = sum(future.result() for future in racing)
        finally:
            client.delete_object(**place)
    if winners != 1:
        raise _unfit(f"let {winners} of {_RACERS} writers of one new object win")


def _unfit(what: str) -> EnvironmentMissing:
    return EnvironmentMissing(
        f"this S3 service {what}, so it cannot decide who moves an alias; keep the store in a "
        "folder, or in a service with conditional writes (Amazon S3, Ceph)"
    )
