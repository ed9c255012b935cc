"""Registries: names, versions and aliases. One file and one line of the table each.

`open_registry` gives the registry behind an address. What a registry must do is
`slipway.protocols.Registry`, and a new one is finished when the inherited suite in
`tests/contracts/registry_contract.py` is green.
"""

from collections.abc import Callable
from typing import Final

from slipway.errors import RequestError
from slipway.protocols import Registry


def _memory(uri: str) -> Registry:
    from slipway.registries.memory import MemoryRegistry

    return MemoryRegistry(uri.removeprefix("memory://"))


def _mlflow(uri: str) -> Registry:
    from slipway.registries.mlflow import MlflowRegistry

    return MlflowRegistry(uri)


REGISTRIES: Final[dict[str, Callable[[str], Registry]]] = {
    "memory": _memory,
    "sqlite": _mlflow,
    "http": _mlflow,
    "https": _mlflow,
}


def open_registry(uri: str) -> Registry:
    """The registry at an address: `memory://NAME`, or an MLflow tracking URI.

    That is `sqlite:///FILE` (`sqlite:////FOLDER/FILE` is absolute) or a server's http address;
    another database belongs behind a server. Nothing is created or asked before the first call.

    Raises:
        RequestError: for a scheme that is not in the table.
    """
    scheme = uri.split("://", 1)[0] if "://" in uri else uri
    if scheme not in REGISTRIES or "://" not in uri:
        known = ", ".join(f"{name}://" for name in REGISTRIES)
        raise RequestError(
            f"{uri}: no registry for this address; there are {known} (an MLflow database other "
            "than SQLite is reached through an MLflow server)"
        )
    return REGISTRIES[scheme](uri)
