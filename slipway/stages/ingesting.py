"""Files and models from wherever the spec names them into the store.

What comes over the network is downloaded only when it is not what was downloaded before.
"""

import tempfile
from pathlib import Path

from slipway.artifacts import OCTETS_MEDIA_TYPE, TREE_MEDIA_TYPE, ArtifactRef, Digest
from slipway.errors import IntegrityError, RequestError, SourceNotFound, SpecError
from slipway.specs import REGISTRY_SCHEMES, SourceSpec, local_path, scheme_of
from slipway.stages.kept import Kept, Origin, find_kept, keep
from slipway.stages.workspace import Workspace
from slipway.stores.trees import put_tree


def ingest_source(work: Workspace, source: SourceSpec) -> tuple[ArtifactRef, Origin | None]:
    """Store the model; one in MLflow says itself which framework made it.

    Raises:
        SpecError: when it is of another framework than the spec says, or nothing reads the address.
        SourceNotFound, RequestError, UnreadableModel, EnvironmentMissing: as downloads do.
        StoreUnavailable, RegistryUnavailable: when a server does not answer.
    """
    if scheme_of(source.uri) not in REGISTRY_SCHEMES:
        return ingest(work, source.uri, "source.uri", digest=source.digest), None
    ref, origin = _from_mlflow(work, source)
    if source.framework not in {None, origin.framework}:
        raise SpecError(
            f"source.framework: {source.framework} in the spec, and {source.uri} is a "
            f"{origin.framework} model; correct it, or leave it out"
        )
    return ref, origin


def ingest(work: Workspace, uri: str, entry: str, *, digest: Digest | None = None) -> ArtifactRef:
    """Store a file or folder of the user's, or one at an s3:// address.

    Args:
        work: Whose store is filled.
        uri: Where it is.
        entry: The spec's entry, for messages.
        digest: What the spec says that it is; what was downloaded before counts only if it is that.
    """
    scheme = scheme_of(uri)
    if scheme == "file":
        return _put(work, local_path(uri), entry)
    if scheme != "s3":
        raise SpecError(
            f"{entry}: nothing here reads {scheme}: addresses ({uri}); give a path, file:// or "
            "s3://BUCKET/KEY"
        )
    return _from_s3(work, uri, entry, digest)


def refuse_hard_links(folder: Path) -> None:
    """Refuse a folder from elsewhere that may name any file of this machine as its weights.

    Raises:
        IntegrityError: naming the file.
    """
    for path in folder.rglob("*"):
        if path.is_file() and path.lstat().st_nlink > 1:
            raise IntegrityError(
                f"source.uri: {path.name} has {path.lstat().st_nlink} hard links, so that it may "
                "be another file's content; copy the folder"
            )


def _from_mlflow(work: Workspace, source: SourceSpec) -> tuple[ArtifactRef, Origin]:
    from slipway.registries.mlflow_source import current_marks, download_model, locate_model

    server = work.settings.registry_uri
    located = locate_model(source.uri, registry_uri=server)
    # Before the download: what changes in between is then told from it, and fetched again.
    marks = current_marks(located)
    kept = find_kept(work, located.address, server)
    if kept is not None and kept.origin is not None and _is_asked(kept, marks, source.digest):
        return kept.ref, kept.origin
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        model = download_model(located, Path(folder))
        ref = _put(work, model.files.path, "source.uri")
    origin = Origin(uri=model.address, framework=model.files.framework)
    keep(work, located.address, server, Kept(marks=marks, ref=ref, origin=origin))
    return ref, origin


def _from_s3(work: Workspace, uri: str, entry: str, digest: Digest | None) -> ArtifactRef:
    from slipway.stores.s3_source import current_marks, download, server_of

    server = server_of(work.settings)
    kept = find_kept(work, uri, server)
    if kept is not None:
        try:
            if _is_asked(kept, current_marks(uri, settings=work.settings), digest):
                return kept.ref
        except (SourceNotFound, RequestError):
            pass  # the download says better what is wrong: HEAD is answered without a reason
    with tempfile.TemporaryDirectory(prefix="slipway-") as folder:
        found = download(uri, Path(folder), settings=work.settings)
        ref = _put(work, found.path, entry)
    keep(work, uri, server, Kept(marks=found.marks, ref=ref))
    return ref


def _is_asked(kept: Kept, marks: dict[str, str], digest: Digest | None) -> bool:
    return kept.marks == marks and digest in {None, kept.ref.digest}


def _put(work: Workspace, path: Path, entry: str) -> ArtifactRef:
    if path.is_dir():
        return put_tree(work.store, path, media_type=TREE_MEDIA_TYPE)
    if not path.is_file():
        raise SourceNotFound(f"{entry}: there is no file at {path}")
    return work.store.put_file(path, media_type=OCTETS_MEDIA_TYPE)
