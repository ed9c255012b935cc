"""HTML pages that lie in no bundle, in the home's `reports`."""

import secrets
from pathlib import Path

from slipway.artifacts import digest_bytes
from slipway.settings import Settings


def write_page(name: str, html: str) -> Path:
    """Write a page under a name of its content, whole or not at all."""
    return replace_page(f"{name}-{digest_bytes(html.encode())[7:19]}.html", html)


def replace_page(file: str, html: str) -> Path:
    """Write a page in place of the one that has the same name, whole or not at all."""
    folder = Settings().root / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(path)
    return path
