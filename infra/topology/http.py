"""Asking a service on this machine over HTTP, with its password, until it has time to answer."""

import base64
import json
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.error import HTTPError
from urllib.request import Request, urlopen

BUSY_LIMIT_S: Final = 60.0


def answers(url: str) -> bool:
    """Whether a page is there for anybody."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own http address
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def ask(url: str, *, login: str, body: object = None, method: str | None = None) -> Any:  # noqa: ANN401 - any JSON
    """The JSON that a service answers, or None where it answers nothing.

    Args:
        url: What to ask.
        login: `user:password`.
        body: JSON to send; the method is then POST.
        method: Another method.

    Raises:
        HTTPError: when it refuses; one that is only busy (503) is asked again for a minute.
    """
    request = Request(  # noqa: S310 - our own http address
        url,
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={
            "content-type": "application/json",
            "authorization": f"Basic {base64.b64encode(login.encode()).decode()}",
        },
    )
    deadline = time.monotonic() + BUSY_LIMIT_S
    while True:
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310 - our own http address
                content = answer.read()
                return json.loads(content) if content else None
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > deadline:
                raise
            error.close()
        time.sleep(1)
