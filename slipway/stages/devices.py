"""A device of this machine for one benchmark at a time, where no server says whose turn it is."""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.errors import Transient, os_failure

_LOOK_EVERY_S: Final = 0.2


@contextmanager
def device_lock(name: str, *, patience_s: float) -> Iterator[None]:
    """Wait for a device and keep it, by a lock on a file that all of this user's processes know.

    The lock goes with the process, however that ends.

    Raises:
        Transient: when it stays taken for longer than the patience.
        EnvironmentMissing: when the file cannot be made.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", name)
    path = Path(tempfile.gettempdir()) / f"slipway-{os.getuid()}-{slug}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise os_failure(error, f"taking {name}") from error
    try:
        deadline = time.monotonic() + patience_s
        while not _taken(descriptor):
            if time.monotonic() > deadline:
                raise Transient(f"{name}: other benchmarks kept it for {patience_s:g} s")
            time.sleep(_LOOK_EVERY_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
