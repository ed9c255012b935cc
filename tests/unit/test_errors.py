"""The family of errors: one tree, a documented exit status each, and what lacks is no transient."""

import errno
import re

import pytest

from slipway import errors
from slipway.errors import (
    EnvironmentMissing,
    SlipwayError,
    StoreUnavailable,
    Transient,
    error_classes,
    os_failure,
)

STATUS = {"ModelError": 1, "IntegrityError": 1, "RequestError": 2, "EnvironmentMissing": 3}


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    assert drawn == set(error_classes()) - {"SlipwayError"}


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_the_exit_status_is_the_branchs(name: str) -> None:
    cls = error_classes()[name]
    ancestors = [base.__name__ for base in cls.__mro__]
    branch = next((STATUS[base] for base in ancestors if base in STATUS), None)
    if "Transient" in ancestors:
        branch = 4
    assert cls.exit_code == (branch or 1)


@pytest.mark.parametrize("name", sorted(error_classes()))
def test_every_error_says_when_it_happens(name: str) -> None:
    assert error_classes()[name].__doc__


def test_errors_defined_elsewhere_join_the_family() -> None:
    class ElsewhereError(SlipwayError):
        """Only here."""

    assert error_classes()["ElsewhereError"] is ElsewhereError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EFBIG])
def test_what_the_machine_lacks_is_not_retried(number: int) -> None:
    error = os_failure(OSError(number, "no"), "writing out.onnx")
    assert isinstance(error, EnvironmentMissing)
    assert str(error).startswith("writing out.onnx: ")
    assert ";" in str(error)


def test_what_may_pass_is_transient_of_the_class_given() -> None:
    error = os_failure(OSError(errno.EIO, "I/O error"), "reading", transient=StoreUnavailable)
    assert isinstance(error, StoreUnavailable)
    assert isinstance(error, Transient)
    assert str(error) == "reading: I/O error"
