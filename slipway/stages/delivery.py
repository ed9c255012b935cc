"""Files put where a user asked for them: whole, or not at all."""

import shutil
from pathlib import Path

from slipway.errors import RequestError
from slipway.stages.workspace import EXTERNAL_DATA_SUFFIX


def deliver_file(source: Path, target: Path) -> None:
    """Copy beside the target, then rename over it."""
    temporary = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def deliver_text(text: str, target: Path) -> None:
    """Write a text in place of what is there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def deliver_model(made: Path, target: Path) -> None:
    """Copy a model: its external data first, under the name that the model gives it.

    Raises:
        RequestError: when that name is taken, since the file there may be another model's.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    data = made.with_name(made.name + EXTERNAL_DATA_SUFFIX)
    if data.exists():
        beside = target.with_name(data.name)
        if beside.exists():
            raise RequestError(f"{beside} exists already; write the model to a folder of its own")
        deliver_file(data, beside)
    deliver_file(made, target)
