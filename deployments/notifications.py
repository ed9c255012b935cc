"""Whom the server tells: a webhook, whose address is a secret of the deployer's environment."""

import os
from pathlib import Path
from typing import Final, cast

from prefect.blocks.webhook import Webhook
from pydantic import SecretStr

from deployments.changes import Change, settle

NAME: Final = "slipway-notifications"
URL: Final = "SLIPWAY_NOTIFY_URL"
"""The webhook's address; with `_FILE` after the name, the file that holds it."""


def apply(told: str | None) -> dict[str, Change]:
    """Keep the address on the server; one that is there stays when none is given."""
    if told is None:
        return {}
    found = _found()
    block = Webhook(method="POST", url=SecretStr(told))
    change = settle(
        {"url": told},
        None if found is None else {"url": found.url.get_secret_value()},
        make=lambda: block.save(NAME),
        change=lambda: block.save(NAME, overwrite=True),
    )
    return {f"webhook {NAME}": change}


def address() -> str | None:
    """Whom to tell, by the environment; None for nobody.

    Raises:
        ValueError: when what is given is no address.
    """
    given = os.environ.get(URL) or None
    if file := os.environ.get(f"{URL}_FILE"):
        given = Path(file).read_text(encoding="utf-8").strip()
    if given is not None and not given.startswith(("https://", "http://")):
        # It is a secret, so it is not shown.
        raise ValueError(f"{URL} holds no address that starts with https:// or http://")
    return given


def _found() -> Webhook | None:
    try:
        return cast("Webhook", Webhook.load(NAME))
    except ValueError:  # as Prefect says that there is none
        return None
