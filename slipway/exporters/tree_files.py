"""What reading a boosted model's file has in common, whichever library wrote it."""

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from slipway.errors import ExportFailed, SourceNotFound, UnreadableModel, UntrustedSource
from slipway.exporters.archives import is_pickle, sniff


def check_start(path: Path, start: bytes, *, otherwise: str, pickled: str) -> None:
    """Refuse what does not begin as the library's own format does.

    Args:
        path: The source.
        start: The bytes that the format begins with.
        otherwise: What another file is, and the way out, said after its name.
        pickled: How to save the model instead, said of a pickle.

    Raises:
        SourceNotFound, UnreadableModel, UntrustedSource: as for every source.
    """
    if not path.exists():
        raise SourceNotFound(f"there is no file at {path}")
    if path.is_dir():
        raise UnreadableModel(f"{path.name} is a folder; name the model's file")
    with path.open("rb") as file:
        if file.read(len(start)) == start:
            return
    if zipfile.is_zipfile(path) and sniff(path) == "skops":
        raise UntrustedSource(
            f"{path.name} holds Python objects of the library's scikit-learn interface (skops): "
            f"save the model with {pickled}; in MLflow, log the booster itself"
        )
    if is_pickle(path):
        raise UntrustedSource(
            f"{path.name} is a pickle, which runs code when loaded: save the model with {pickled}"
        )
    raise UnreadableModel(f"{path.name} {otherwise}")


@contextlib.contextmanager
def naming_the_file(
    path: Path, *, malformed: tuple[type[Exception], ...], damaged: str
) -> Iterator[None]:
    """Put the file's name before what its content is refused for.

    Args:
        path: The source.
        malformed: What reading raises where the content is not what it should be.
        damaged: What such a file is, said after its name: "is a damaged ... model".

    Raises:
        UnreadableModel, ExportFailed: with the name in front.
    """
    try:
        yield
    except UnreadableModel as error:
        raise UnreadableModel(f"{path.name}: {error}") from error
    except ExportFailed as error:
        raise ExportFailed(f"{path.name}: {error}") from error
    except malformed as error:
        raise UnreadableModel(f"{path.name} {damaged} ({type(error).__name__}: {error})") from error
