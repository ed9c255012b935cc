"""The log of an alias in the store: `promotions/NAME/ALIAS/00000001.json` and so on.

Writing the next number is what decides who moves the alias: the store lets one writer win.
"""

import re
from typing import Final

from slipway.errors import IntegrityError
from slipway.promotion.records import PromotionRecord
from slipway.protocols import Store

_FOLDER: Final = "promotions"
_NUMBER: Final = re.compile(r"(\d{8})\.json")


def read_log(store: Store, name: str, alias: str) -> tuple[PromotionRecord, ...]:
    """All records, oldest first; every one is checked, and that it follows the one before.

    So an edit, a removal from the middle and a change of order are found. That the last records
    were removed cannot be seen here: the registry's versions tell it (see `moving`).

    Raises:
        IntegrityError: naming the record and what is wrong with it.
    """
    folder = f"{_FOLDER}/{name}/{alias}"
    where = f"the log of {name}@{alias} in {store.uri}"
    found: list[PromotionRecord] = []
    for place in store.records(folder):
        number = len(found) + 1
        named = _NUMBER.fullmatch(place.removeprefix(f"{folder}/"))
        if named is None:
            raise IntegrityError(f"{where}: {place} is no record of it")
        if int(named[1]) != number:
            raise IntegrityError(f"{where}: record {number} is missing; there is {place}")
        try:
            record = PromotionRecord.from_json(store.read_record(place))
            _must_follow(record, found, name=name, alias=alias)
        except IntegrityError as error:
            raise IntegrityError(f"{where}, record {number}: {error}") from error
        found.append(record)
    return tuple(found)


def append(store: Store, record: PromotionRecord) -> bool:
    """Write a record unless its number is taken; whether it is this very record that is there."""
    return store.create_record(
        f"{_FOLDER}/{record.name}/{record.alias}/{record.number:08d}.json", record.to_json()
    )


def logged_aliases(store: Store, name: str | None = None) -> tuple[tuple[str, str], ...]:
    """Names and aliases that have a log, in order; those of one name, or all."""
    folder = f"{_FOLDER}/{name}" if name else _FOLDER
    places = (place.split("/") for place in store.records(folder))
    return tuple(sorted({(place[1], place[2]) for place in places if len(place) == 4}))  # noqa: PLR2004 - the module's first line


def _must_follow(
    record: PromotionRecord, before: list[PromotionRecord], *, name: str, alias: str
) -> None:
    if (record.name, record.alias) != (name, alias):
        raise IntegrityError(f"it is one of {record.name}@{record.alias}")
    if record.number != len(before) + 1:
        raise IntegrityError(f"it was written as record {record.number}")
    last = before[-1] if before else None
    if record.previous != (last.digest if last else None):
        raise IntegrityError("it does not follow the record before it, which is another one")
    if last and record.from_version != last.to_version:
        raise IntegrityError(
            f"it moves from version {record.from_version}, and the alias was at {last.to_version}"
        )
