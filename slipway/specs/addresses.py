"""Addresses of files and models: which scheme they have, and which path or name they mean."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from slipway.errors import SpecError

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
REGISTRY_SCHEMES: Final = frozenset({"models", "runs"})
"""Addresses of models in MLflow, which says what made them."""


def scheme_of(uri: str) -> str:
    """`file` for a path, else what stands before `://` (or before `:/`, as MLflow writes it)."""
    found = _SCHEME.match(uri)
    return found[1].lower() if found else "file"


def local_path(uri: str) -> Path:
    """The path that a plain path or a file:// address names; the latter's %20 is a space.

    Raises:
        SpecError: for any other scheme, and for a file:// address of another host.
    """
    scheme = scheme_of(uri)
    if scheme != "file":
        raise SpecError(f"{uri}: a path or a file:// address is needed here, not {scheme}:")
    if not uri.lower().startswith("file:/"):
        return Path(uri)
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise SpecError(
            f"{uri} is no address of a file here: write file:///FOLDER/FILE, with %23 for # and "
            "%3F for ?"
        )
    path = unquote(parts.path, errors="surrogateescape")
    if "\0" in path:
        raise SpecError(f"{uri}: a path holds no NUL")
    return Path(path)


def file_name(uri: str) -> str:
    """The last part of a path or an address."""
    return local_path(uri).name if scheme_of(uri) == "file" else Path(uri).name


def resolve_address(uri: str, folder: Path) -> str:
    """The address with a relative path stood on a folder."""
    return uri if _SCHEME.match(uri) else str(folder / uri)
