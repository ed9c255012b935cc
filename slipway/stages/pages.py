"""HTML pages of what made no bundle, in the home's `reports`."""

import secrets
from pathlib import Path

from slipway.artifacts import digest_bytes
from slipway.settings import Settings


def write_page(name: str, html: str) -> Path:
    """Write a page under a name of its content, whole or not at all."""
    page = html.encode()
    folder = Settings().root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{digest_bytes(page)[7:19]}.html"
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.write_bytes(page)
    temporary.replace(path)
    return path
