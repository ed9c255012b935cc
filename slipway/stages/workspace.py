"""A temporary folder for one stage: verified inputs beside a scratch folder for its child."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel

from slipway.artifacts import (
    GOLDEN_MEDIA_TYPE,
    OCTETS_MEDIA_TYPE,
    ONNX_MEDIA_TYPE,
    TREE_MEDIA_TYPE,
    ArtifactRef,
)
from slipway.isolation.runner import Limits, run_isolated
from slipway.protocols import Store
from slipway.settings import Settings
from slipway.stores import open_store
from slipway.stores.trees import fetch, put_tree

Result = TypeVar("Result", bound=BaseModel)

EXTERNAL_DATA_SUFFIX = ".data"
PREFIX = "slipway-stage-"
SETTLED_S = 60.0
"""A folder younger than this may not have its lock yet."""
# Light and without threads: what every child that touches an ONNX model imports.
PRELOAD = (
    *("onnx.checker", "onnx.shape_inference", "onnx.numpy_helper", "onnx.helper"),
    *("slipway.stages.children", "slipway.precisions", "slipway.validation.validate"),
)


class Workspace:
    """Use as a context manager; the folder goes when it ends, whatever happened.

    What a stage keeps is in the store before its reference is returned, so a reference never
    points at something half-written. A process that is killed cannot clean up: its folder loses its
    lock, and the next workspace on the machine removes it.
    """

    def __init__(self, settings: Settings | None = None, store: Store | None = None) -> None:
        self.settings = settings or Settings()
        self.store = store or open_store(self.settings.store_uri)
        self._folder = Path()
        self._lock = -1
        self._given = 0

    def __enter__(self) -> Self:
        remove_abandoned(Path(tempfile.gettempdir()))
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.scratch.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)

    @property
    def scratch(self) -> Path:
        """Where the stage's child may write."""
        return self._folder / "scratch"

    def fetch(self, ref: ArtifactRef, name: str) -> Path:
        """The reference's bytes as a file or folder, hashed on the way."""
        return fetch(self.store, ref, self._place(name))

    def fetch_if(self, ref: ArtifactRef | None, name: str) -> Path | None:
        """The same, where there is a reference."""
        return None if ref is None else self.fetch(ref, name)

    def fetch_model(self, ref: ArtifactRef, name: str) -> Path:
        """An ONNX model in a folder of its own, with its external data beside it."""
        folder = self._place(name)
        if ref.is_tree:
            return fetch(self.store, ref, folder) / "model.onnx"
        return fetch(self.store, ref, folder / "model.onnx")

    def _place(self, name: str) -> Path:
        """A path that ends in a user's name, in a folder of its own: the name may be anything."""
        self._given += 1
        return self._folder / f"given-{self._given}" / name

    def run(
        self,
        function: str,
        request: BaseModel,
        *,
        returns: type[Result],
        what: str,
        fresh: bool = False,
        python: Path | None = None,
        look: Callable[[], None] | None = None,
    ) -> Result:
        """Call a function of the core in an isolated child that writes in `scratch`.

        Args:
            function: `slipway.module:function`.
            request: What it is given.
            returns: What it answers.
            what: For messages.
            fresh: Start a new interpreter: for what is measured, since forked children share
                their parent's memory layout.
            python: Start another environment's interpreter.
            look: Called again and again while the child works.
        """
        return run_isolated(
            function,
            request,
            returns=returns,
            scratch=self.scratch,
            what=what,
            limits=Limits(
                timeout_s=self.settings.timeout_s, memory_bytes=self.settings.memory_limit_bytes
            ),
            python=str(python) if python else None,
            preload=() if fresh else PRELOAD,
            look=look,
        )

    def keep_file(self, path: Path, *, media_type: str = OCTETS_MEDIA_TYPE) -> ArtifactRef:
        """Store a file."""
        return self.store.put_file(path, media_type=media_type)

    def keep_golden(self, path: Path) -> ArtifactRef:
        """Store a golden set."""
        return self.keep_file(path, media_type=GOLDEN_MEDIA_TYPE)

    def keep_model(self, path: Path) -> ArtifactRef:
        """Store a model; one with external data beside it as a tree."""
        data = path.with_name(path.name + EXTERNAL_DATA_SUFFIX)
        if not data.exists():
            return self.keep_file(path, media_type=ONNX_MEDIA_TYPE)
        folder = Path(tempfile.mkdtemp(dir=self._folder, prefix="keep-"))
        path.rename(folder / "model.onnx")
        data.rename(folder / data.name)
        return put_tree(self.store, folder, media_type=TREE_MEDIA_TYPE)


def remove_abandoned(parent: Path) -> None:
    """Remove this user's workspaces whose processes are gone: nobody holds their locks."""
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # another user's, a link, or gone meanwhile
            continue
        try:
            about = os.fstat(descriptor)
            if about.st_uid != os.getuid() or time.time() - about.st_mtime < SETTLED_S:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # locked: its process is at work
            continue
        finally:
            os.close(descriptor)
