"""What the package index says against the versions of the tools in use: yanked, vulnerable."""

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from slipway.reports import Advisory

TIMEOUT_S: Final = 10.0
_LIMIT_BYTES: Final = 32 << 20
# A local build is of the release whose number it carries.
_LOCAL: Final = "+"


def find_advisories(tools: Mapping[str, str], *, index: str) -> tuple[Advisory, ...]:
    """Ask a package index of every tool, in its JSON form (`INDEX/NAME/VERSION/json`).

    An index that does not answer is an advisory of its own, `unknown`: silence is no clean bill.

    Args:
        tools: Version by package; what is not installed (`absent`) is not asked of.
        index: Address, such as `https://pypi.org/pypi`.
    """
    asked = sorted((t, v) for t, v in tools.items() if v and v[0].isdigit())
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda pair: tuple(_ask(index, *pair)), asked)
        return tuple(advisory for each in found for advisory in each)


def _ask(index: str, tool: str, version: str) -> Iterator[Advisory]:
    public = version.partition(_LOCAL)[0]
    try:
        about = _read(f"{index.rstrip('/')}/{quote(tool)}/{quote(public)}/json")
    except (OSError, ValueError) as error:
        if isinstance(error, HTTPError) and error.code == HTTPStatus.NOT_FOUND:
            return  # ours, or somebody's own: the index knows nothing of it
        yield Advisory(
            tool=tool,
            version=version,
            kind="unknown",
            sentence=f"{tool} {version}: {index} could not be asked ({error})",
        )
        return
    if about.get("info", {}).get("yanked"):
        reason = about["info"].get("yanked_reason") or "no reason is given"
        yield Advisory(
            tool=tool,
            version=version,
            kind="yanked",
            sentence=f"{tool} {version} was yanked from the index: {reason}",
        )
    for known in _standing(about.get("vulnerabilities") or ()):
        fixed = ", ".join(known.get("fixed_in") or ()) or "no release yet"
        yield Advisory(
            tool=tool,
            version=version,
            kind="vulnerable",
            sentence=f"{tool} {version} is vulnerable: {known.get('id')}; fixed in {fixed}",
        )


def _standing(vulnerabilities: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (known for known in vulnerabilities if not known.get("withdrawn"))


def _read(address: str) -> dict[str, Any]:
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"{address} is not an http address")
    request = Request(address, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    with urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked above
        found = json.loads(answer.read(_LIMIT_BYTES))
    return dict(found)
