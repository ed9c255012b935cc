"""How far a child's calibration is, and what it has counted, told to the process that waits for it.

Both are files in the child's scratch folder, the only place where it may write. If the waiting
process keeps the state elsewhere, a calibration that was killed goes on where it was.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from slipway.precisions.calibration import CALIBRATING, Progress

STATE: Final = "calibration.npz"
_PROGRESS: Final = "calibration-progress"


class Tally:
    """How much of a calibration was done in this run, from what its progress tells."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.progress = progress
        self._last: int | None = None
        self.resumed = self.samples = self.batches = 0

    def __call__(self, done: int, total: int, what: str) -> None:
        """Told before the first batch and after each."""
        if what == CALIBRATING:
            if self._last is None:
                self.resumed = done
            elif done > self._last:
                self.batches += 1
            self._last = self.samples = done
        if self.progress is not None:
            self.progress(done, total, what)


def tell_progress(scratch: Path) -> Progress | None:
    """What the child calls as it gets on; None where nobody asked for it."""
    if not (scratch / _PROGRESS).exists():
        return None

    def tell(done: int, total: int, what: str) -> None:
        with (scratch / _PROGRESS).open("a", encoding="utf-8") as told:
            told.write(f"{done} {total} {what}\n")

    return tell


def relay(
    scratch: Path,
    *,
    keep: Path | None = None,
    begin: Path | None = None,
    progress: Progress | None = None,
) -> Callable[[], None]:
    """What the waiting process calls again and again; a state that was kept goes to the child.

    Args:
        scratch: The child's folder, before it starts.
        keep: Where the state is kept; taken up from there if it exists.
        begin: A state to begin with where none was kept.
        progress: Told all that the child tells: how much is done, of how much, and what it does.
    """
    known = next((path for path in (keep, begin) if path is not None and path.exists()), None)
    if known is not None:
        shutil.copyfile(known, scratch / STATE)
    if progress is not None:
        (scratch / _PROGRESS).touch()
    seen: dict[Path, int] = {}
    heard = 0

    def is_new(path: Path) -> bool:
        before = seen.get(path)
        with suppress(FileNotFoundError):
            seen[path] = path.stat().st_mtime_ns
        return seen.get(path) != before

    def look() -> None:
        nonlocal heard
        if progress is not None:
            with (scratch / _PROGRESS).open(encoding="utf-8") as told:
                told.seek(heard)
                # Up to the last whole line: the child may be writing one.
                text = told.read().rpartition("\n")[0]
            heard += len(text.encode()) + bool(text)
            for line in text.splitlines():
                done, total, what = line.split(maxsplit=2)
                progress(int(done), int(total), what)
        if keep is not None and is_new(scratch / STATE):
            keep.parent.mkdir(parents=True, exist_ok=True)
            partial = keep.with_name(f".{keep.name}.partial")
            with suppress(FileNotFoundError):  # the child has finished with it
                shutil.copyfile(scratch / STATE, partial)
                partial.replace(keep)

    return look
