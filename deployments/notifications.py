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


def apply() -> dict[str, Change]:
    """Keep the address on the server; one that is there stays when none is given.

    Raises:
        ValueError: when what is given is no address.
    """
    address = _address()
    if address is None:
        return {}
    found = _found()
    block = Webhook(method="POST", url=SecretStr(address))
    change = settle(
        {"url": address},
        None if found is None else {"url": found.url.get_secret_value()},
        make=lambda: block.save(NAME),
        change=lambda: block.save(NAME, overwrite=True),
    )
    return {f"webhook {NAME}": change}


def _address() -> str | None:
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
