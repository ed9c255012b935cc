"""The one family of errors, by what the caller can do about them.

    SlipwayError
    ├── ModelError            1  the model failed; change the model
    │   ├── UnreadableModel      truncated, malformed, or not what its suffix says
    │   ├── ExportFailed         the framework's converter refused or was wrong
    │   │   └── UnsupportedOperator  it has no ONNX for an operator, at this opset or at any
    │   ├── CheckFailed          the ONNX graph breaks a rule
    │   ├── ParityFailed         the outputs disagree with the source model's
    │   ├── PrecisionFailed      a conversion gave an unusable model
    │   └── ChildFailed          the isolated process did not come back with an answer
    │       ├── ChildCrashed     a signal or an abrupt exit
    │       ├── ChildTimedOut    past its wall-clock limit, killed
    │       └── ChildOutOfMemory past its memory limit, killed
    ├── IntegrityError        1  the bytes are not those that were sealed; distrust them
    ├── RequestError          2  the request was wrong; change the spec or the command
    │   ├── SpecError            the spec does not say what it must
    │   ├── DataError            the data does not fit the model or is unusable
    │   ├── SourceNotFound       no such file, object or version
    │   ├── UntrustedSource      loading it would run code that nobody vouched for
    │   └── AliasMoved           an alias is not where it was expected; look, then ask again
    ├── EnvironmentMissing    3  a package, provider or program is not installed
    └── Transient             4  it may work the next time: network, a busy server, a lock
        ├── StoreUnavailable     the store did not answer
        └── RegistryUnavailable  the registry did not answer

The number is the exit status of the command line. Tasks retry on `Transient` alone.
"""

import errno
from collections.abc import Mapping
from typing import ClassVar, Final

# The machine lacks something that waiting does not bring: space, a right, a quota. A retry would
# only write the same gigabytes into the same full disk, so these are not `Transient`.
_LACKING: Final = {
    errno.ENOSPC: "the disk is full; free space there",
    errno.EDQUOT: "the quota is used up; free space there or raise it",
    errno.EFBIG: "the file would pass the limit on file sizes; raise it (ulimit -f)",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "permission is denied; choose another folder or change its rights",
    errno.EPERM: "the operation is not permitted; choose another folder or change its rights",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
    errno.ENAMETOOLONG: "the name is too long for the file system; choose a shorter folder",
    errno.ENOTDIR: "a file stands where a folder is needed; choose another folder",
    errno.EEXIST: "a file stands where a folder is needed; choose another folder",
}


class SlipwayError(Exception):
    """Anything Slipway refuses or fails to do: the message holds fact, place and way out.

    Attributes:
        facts: What the message says, for pages and scripts: `kind`, `operator`, `opset`, ...
        report: The page that tells more, where one was written.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "", *, facts: Mapping[str, str | int] | None = None) -> None:
        """Take the message, and what it says."""
        super().__init__(message)
        self.facts = dict(facts or {})
        self.report: str | None = None


class ModelError(SlipwayError):
    """The model, or what was made of it, failed."""


class UnreadableModel(ModelError):
    """The file is truncated, malformed, or not of the format that it claims."""


class ExportFailed(ModelError):
    """The framework's converter refused the model, or its result is not what was asked for."""


class UnsupportedOperator(ExportFailed):
    """The converter has no ONNX for an operator of the model: at this opset, or at any."""


class CheckFailed(ModelError):
    """The ONNX graph breaks a rule of the checker, the preflight or the runtime."""


class ParityFailed(ModelError):
    """Outputs disagree with the source model beyond the tolerance."""


class PrecisionFailed(ModelError):
    """A conversion produced a model that cannot be used, such as one with infinite scales."""


class ChildFailed(ModelError):
    """An isolated process ended without an answer."""


class ChildCrashed(ChildFailed):
    """The isolated process died of a signal or exited abruptly."""


class ChildTimedOut(ChildFailed):
    """The isolated process ran past its wall-clock limit and was killed."""


class ChildOutOfMemory(ChildFailed):
    """The isolated process went past its memory limit."""


class IntegrityError(SlipwayError):
    """Bytes differ from the digest or the manifest that names them."""


class RequestError(SlipwayError):
    """What was asked for is wrong, whoever asks."""

    exit_code = 2


class SpecError(RequestError):
    """The spec has a wrong, missing or misspelt entry."""


class DataError(RequestError):
    """Input data is missing, empty, non-finite, or of another name, shape or dtype."""


class SourceNotFound(RequestError):
    """There is no file, object or version at that address."""


class UntrustedSource(RequestError):
    """Loading this source would run code that nobody vouched for."""


class AliasMoved(RequestError):
    """Somebody else moved the alias: what was asked for was decided on another state of things.

    No `Transient`: a retry would undo the other's move without anybody having looked at it.
    """


class EnvironmentMissing(SlipwayError):
    """A package, an execution provider or a program is not installed here."""

    exit_code = 3


class Transient(SlipwayError):
    """A failure that may pass by itself; the only kind that is retried."""

    exit_code = 4


class StoreUnavailable(Transient):
    """The store did not answer, or answered that it is busy."""


class RegistryUnavailable(Transient):
    """The registry did not answer, or answered that it is busy."""


def error_classes() -> dict[str, type[SlipwayError]]:
    """Every class of the tree by its name: how an isolated child's error gets its type back."""
    found: dict[str, type[SlipwayError]] = {}
    pending: list[type[SlipwayError]] = [SlipwayError]
    while pending:
        cls = pending.pop()
        found[cls.__name__] = cls
        pending.extend(cls.__subclasses__())
    return found


def os_failure(
    error: OSError, doing: str, *, transient: type[Transient] = Transient
) -> SlipwayError:
    """The error of our family for a failed file operation.

    What the machine lacks (space, rights) is `EnvironmentMissing`, since a retry cannot bring it;
    the rest (a stale mount, an I/O error, a busy device) is of the `transient` class given.
    """
    if error.errno in _LACKING:
        return EnvironmentMissing(f"{doing}: {_LACKING[error.errno]}")
    return transient(f"{doing}: {error.strerror or error}")
