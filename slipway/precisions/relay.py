"""How far a child's calibration is, and what it has counted, told to the process that waits for it.

Both are files in the child's scratch folder, the only place where it may write. If the waiting
process keeps the state elsewhere, a calibration that was killed goes on where it was.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from slipway.precisions.calibration import Progress

STATE: Final = "calibration.npz"
_PROGRESS: Final = "calibration-progress"


def tell_progress(scratch: Path) -> Progress | None:
    """What the child calls after each batch; None where nobody asked for it."""
    if not (scratch / _PROGRESS).exists():
        return None

    def tell(done: int, total: int, what: str) -> None:
        partial = scratch / f".{_PROGRESS}"
        partial.write_text(f"{done} {total} {what}")
        partial.replace(scratch / _PROGRESS)

    return tell


def relay(
    scratch: Path, *, keep: Path | None = None, progress: Progress | None = None
) -> Callable[[], None]:
    """What the waiting process calls again and again; a state that was kept goes to the child.

    Args:
        scratch: The child's folder, before it starts.
        keep: Where the state is kept; taken up from there if it exists.
        progress: Told how much is done, of how much, and what is being done.
    """
    if keep is not None and keep.exists():
        shutil.copyfile(keep, scratch / STATE)
    if progress is not None:
        (scratch / _PROGRESS).touch()
    seen: dict[Path, int] = {}

    def is_new(path: Path) -> bool:
        before = seen.get(path)
        with suppress(FileNotFoundError):
            seen[path] = path.stat().st_mtime_ns
        return seen.get(path) != before

    def look() -> None:
        if progress is not None and is_new(scratch / _PROGRESS):
            told = (scratch / _PROGRESS).read_text().split(maxsplit=2)
            if told:
                progress(int(told[0]), int(told[1]), told[2])
        if keep is not None and is_new(scratch / STATE):
            keep.parent.mkdir(parents=True, exist_ok=True)
            partial = keep.with_name(f".{keep.name}.partial")
            with suppress(FileNotFoundError):  # the child has finished with it
                shutil.copyfile(scratch / STATE, partial)
                partial.replace(keep)

    return look
