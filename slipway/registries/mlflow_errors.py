"""What MLflow's failures mean to the caller: try again, correct the request, or look elsewhere."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from slipway.errors import (
    EnvironmentMissing,
    RegistryUnavailable,
    RequestError,
    SlipwayError,
    SourceNotFound,
    os_failure,
)

# MLflow's error codes; INTERNAL_ERROR covers an unreachable server, any 5xx, and a lost race for
# a version's number.
_MAY_PASS: Final = frozenset(
    {
        "TEMPORARILY_UNAVAILABLE",
        "REQUEST_LIMIT_EXCEEDED",
        "RESOURCE_CONFLICT",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "INTERNAL_ERROR",
    }
)
_ABSENT: Final = frozenset({"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"})

# A race that was lost: somebody else wrote the same row between MLflow's look and its write. MLflow
# 3.17 calls it a bad request, and the next try finds the row.
_LOST_RACE: Final = ("UNIQUE constraint failed", "duplicate key value")

# MLflow calls whatever status it does not know an internal error; but of these only two pass.
_REFUSED: Final = re.compile(r"failed with error code 4(?!08|29)\d\d")

# SQLite says these in words only; none of them passes by itself.
_LACKING: Final = ("readonly database", "disk is full", "unable to open database file")
_NO_DATABASE: Final = ("file is not a database", "Can't locate revision", "out-of-date database")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn MLflow's, SQLAlchemy's and the system's errors into our family's."""
    try:
        yield
    except SlipwayError:
        raise
    except OSError as error:  # requests' exceptions are of this kind, too
        raise os_failure(error, doing, transient=RegistryUnavailable) from error
    except sqlite3.Error as error:
        raise _explain(doing, str(error), "TEMPORARILY_UNAVAILABLE") from error
    except Exception as error:
        code = _code(error)
        if code is None:
            raise
        raise _explain(doing, str(error), code) from error


def despite_races(attempt: Callable[[], object], doing: str = "writing") -> None:
    """Do what MLflow does by looking and then writing; the second time the row is there.

    Another writer of the same row may have been a moment earlier.
    """
    try:
        with translated(doing):
            attempt()
    except RegistryUnavailable:
        with translated(doing):
            attempt()


def _code(error: Exception) -> str | None:
    """MLflow's code for an error; None for what comes from neither MLflow nor its database."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    if isinstance(error, MlflowException):
        return str(error.error_code)
    if isinstance(error, OperationalError):
        return "TEMPORARILY_UNAVAILABLE"
    return "BAD_REQUEST" if isinstance(error, SQLAlchemyError) else None


def _explain(doing: str, message: str, code: str) -> SlipwayError:
    text = f"{doing}: {message.strip()}"
    if any(words in message for words in _NO_DATABASE):
        return RequestError(f"{text}; is it an MLflow database of a version that fits?")
    if any(words in message for words in _LACKING):
        return EnvironmentMissing(f"{text}; check the folder's rights and its free space")
    if _REFUSED.search(message):
        return RequestError(f"{text}; check the address, the rights and MLFLOW_TRACKING_USERNAME")
    if code in _MAY_PASS or any(words in message for words in _LOST_RACE):
        return RegistryUnavailable(text)
    if code in _ABSENT:
        return SourceNotFound(text)
    return RequestError(text)
