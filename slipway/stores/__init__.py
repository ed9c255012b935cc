"""Stores: bytes by digest. One file and one line of the table each.

`open_store` gives the store behind an address; `trees` puts folders into a store and takes files
and folders out of it again. What a store must do is `slipway.protocols.Store`, and a new one is
finished when the inherited suite in `tests/contracts/store_contract.py` is green.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from slipway.errors import RequestError
from slipway.protocols import Store


def _local(uri: str) -> Store:
    from slipway.stores.local import LocalStore

    return LocalStore(Path(uri.removeprefix("file://")).expanduser())


def _memory(uri: str) -> Store:
    from slipway.stores.memory import MemoryStore

    return MemoryStore(uri.removeprefix("memory://"))


def _s3(uri: str) -> Store:
    from slipway.stores.s3 import S3Store

    return S3Store(uri)


STORES: Final[dict[str, Callable[[str], Store]]] = {
    "file": _local,
    "memory": _memory,
    "s3": _s3,
}


def open_store(uri: str) -> Store:
    """The store at an address: a folder, `file://FOLDER`, `s3://BUCKET/PREFIX`, `memory://NAME`.

    Nothing is created or touched before the first write.

    Raises:
        RequestError: for an empty address or a scheme that is not in the table.
    """
    scheme = uri.split("://", 1)[0] if "://" in uri else "file"
    if not uri.removeprefix("file://"):
        raise RequestError("the store's address is empty; give a folder")
    if scheme not in STORES:
        known = ", ".join(f"{name}://" for name in STORES)
        raise RequestError(f"{uri}: no store for {scheme}://; there are a plain folder, {known}")
    return STORES[scheme](uri)
