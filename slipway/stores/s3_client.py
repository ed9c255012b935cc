"""boto3's client and what its failures mean; boto3 is imported when a call needs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from slipway.errors import (
    EnvironmentMissing,
    RequestError,
    SlipwayError,
    SourceNotFound,
    StoreUnavailable,
    os_failure,
)
from slipway.settings import Settings

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

_CONNECT_S: Final = 10
_READ_S: Final = 60
_CONNECTIONS: Final = 16  # uploads, downloads and questions at once
_ATTEMPTS: Final = 4  # with growing pauses: boto3's own default gives up after 0.6 s
_SERVER_ERROR: Final = 500

_ABSENT: Final = frozenset({"NoSuchBucket", "NoSuchKey", "404", "NotFound"})
_REFUSED_KEYS: Final = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("TokenRefreshRequired", "AuthorizationHeaderMalformed", "InvalidClientTokenId"),
    }
)
_MAY_PASS: Final = frozenset(
    {
        *("SlowDown", "RequestTimeout", "ServiceUnavailable", "InternalError", "Throttling"),
        *("ThrottlingException", "RequestLimitExceeded", "OperationAborted", "429"),
    }
)


def open_client(settings: Settings) -> Any:  # noqa: ANN401 - boto3 makes the type at run time
    """A client for the server that the settings and the AWS_* environment name.

    One client serves all threads of a process for as long as these stay the same, since making
    one costs a quarter of a CPU second.

    Raises:
        EnvironmentMissing: when boto3 is not installed, or the AWS profile does not exist.
        RequestError: when the endpoint is no address.
    """
    named = (settings.s3_endpoint_url, *map(os.environ.get, _ENDPOINTS))
    endpoint = next((address for address in named if address), None)
    region = settings.s3_region or os.environ.get("AWS_REGION")
    with _configured(endpoint):
        return _make_client(endpoint, region, _configuration())


@contextmanager
def _configured(endpoint: str | None) -> Iterator[None]:
    try:
        import boto3  # noqa: F401 - whether it is there
    except ImportError as error:
        raise EnvironmentMissing(
            "s3:// addresses need 'boto3': pip install 'slipway[s3]'"
        ) from error
    with translated(f"opening S3 at {endpoint or 'Amazon'}"):
        yield


def _configuration() -> tuple[tuple[str, str], ...]:
    """What boto3 reads of the environment."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))


@lru_cache(maxsize=8)
def _make_client(endpoint: str | None, region: str | None, _: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - as above
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(region_name=region)
    return session.client(
        "s3",
        endpoint_url=endpoint,
        # Requests are signed for a region, and other servers than Amazon's ask for none.
        region_name=session.region_name or ("us-east-1" if endpoint else None),
        config=Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            max_pool_connections=_CONNECTIONS,
            retries={"mode": "standard", "max_attempts": _ATTEMPTS},
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn boto3's and the system's errors into our family's."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except SlipwayError:
        raise
    except ClientError as error:
        raise _explain_answer(doing, error) from error
    except BotoCoreError as error:
        raise _explain_failure(doing, error) from error
    except ValueError as error:  # an endpoint that is no address
        raise RequestError(
            f"{doing}: {error}; correct SLIPWAY_S3_ENDPOINT_URL or AWS_ENDPOINT_URL"
        ) from error
    except OSError as error:
        raise os_failure(error, doing, transient=StoreUnavailable) from error


def code_of(error: BaseException | None) -> str:
    """The service's code for what it refused; empty for any other error."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def _explain_answer(doing: str, error: "ClientError") -> SlipwayError:
    """The server answered, and refused."""
    code = code_of(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{doing}: {error}"
    if code in _ABSENT:
        return SourceNotFound(text)
    if code in _REFUSED_KEYS:
        return RequestError(
            f"{text}; correct AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        )
    if code == "RequestTimeTooSkewed":
        return EnvironmentMissing(f"{text}; set this machine's clock, or the server's")
    if code in _MAY_PASS or status >= _SERVER_ERROR:
        return StoreUnavailable(text)
    if code in {"AccessDenied", "403"}:
        return RequestError(
            f"{text}; these credentials may not do that, or there is nothing and they may not list "
            "the bucket"
        )
    return RequestError(text)


def _explain_failure(doing: str, error: "BotoCoreError") -> SlipwayError:
    """No answer came, or the request was never sent."""
    from botocore import exceptions

    text = f"{doing}: {error}"
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return EnvironmentMissing(
            f"{text}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if isinstance(error, exceptions.ProfileNotFound | exceptions.SSLError):
        return EnvironmentMissing(f"{text}; correct AWS_PROFILE or AWS_CA_BUNDLE")
    if isinstance(
        error,
        exceptions.ConnectionError
        | exceptions.HTTPClientError
        | exceptions.IncompleteReadError
        | exceptions.CredentialRetrievalError
        | exceptions.FlexibleChecksumError,
    ):
        return StoreUnavailable(text)
    return RequestError(text)
