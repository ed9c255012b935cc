"""Bringing a server to what is wanted, and saying what that changed."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

Change = Literal["made", "changed", "unchanged"]


def settle(
    wanted: Mapping[str, Any],
    found: Mapping[str, Any] | None,
    *,
    make: Callable[[], object],
    change: Callable[[], object],
) -> Change:
    """Make what is missing, change what differs in what is wanted, and leave the rest alone.

    Args:
        wanted: Fields as they should be.
        found: Fields as they are, perhaps with more of them; None if there is nothing.
        make: Makes it.
        change: Brings it to what is wanted.
    """
    if found is None:
        make()
        return "made"
    if all(found.get(name) == value for name, value in wanted.items()):
        return "unchanged"
    change()
    return "changed"
