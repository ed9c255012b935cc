"""A temporary folder for one stage: verified inputs beside a scratch folder for its child."""

import shutil
import tempfile
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
# Light and without threads: what every child that touches an ONNX model imports.
PRELOAD = (
    *("onnx.checker", "onnx.shape_inference", "onnx.numpy_helper", "onnx.helper"),
    *("slipway.stages.children", "slipway.precisions", "slipway.validation.validate"),
)


class Workspace:
    """Use as a context manager; the folder goes when it ends, whatever happened.

    What a stage keeps is in the store before its reference is returned, so a reference never
    points at something half-written.
    """

    def __init__(self, settings: Settings | None = None, store: Store | None = None) -> None:
        self.settings = settings or Settings()
        self.store = store or open_store(self.settings.store_uri)
        self._folder = Path()

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="slipway-"))
        self.scratch.mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def scratch(self) -> Path:
        """Where the stage's child may write."""
        return self._folder / "scratch"

    def fetch(self, ref: ArtifactRef, name: str) -> Path:
        """The reference's bytes as a file or folder, hashed on the way."""
        return fetch(self.store, ref, self._folder / name)

    def fetch_if(self, ref: ArtifactRef | None, name: str) -> Path | None:
        """The same, where there is a reference."""
        return None if ref is None else self.fetch(ref, name)

    def fetch_model(self, ref: ArtifactRef, name: str) -> Path:
        """An ONNX model in a folder of its own, with its external data beside it."""
        folder = self._folder / name
        if ref.is_tree:
            return fetch(self.store, ref, folder) / "model.onnx"
        folder.mkdir()
        return fetch(self.store, ref, folder / "model.onnx")

    def run(
        self,
        function: str,
        request: BaseModel,
        *,
        returns: type[Result],
        what: str,
        fresh: bool = False,
        python: Path | None = None,
    ) -> Result:
        """Call a function of the core in an isolated child that writes in `scratch`.

        Args:
            function: `slipway.module:function`.
            request: What it is given.
            returns: What it answers.
            what: For messages.
            fresh: Start a new interpreter: for frameworks, and for what is measured.
            python: Start another environment's interpreter.
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
