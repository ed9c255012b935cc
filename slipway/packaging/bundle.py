"""Building a bundle: laid out beside its place, sealed by the manifest, then renamed."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slipway.artifacts import (
    Digest,
    canonical_json,
    check_relative_path,
    describe_tree,
    digest_bytes,
    walk_files,
)
from slipway.errors import RequestError, SourceNotFound, os_failure
from slipway.packaging.layout import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    MODEL_NAME,
    PROVENANCE_NAME,
    SBOM_NAME,
    model_path,
)
from slipway.packaging.manifest import Manifest, ManifestVariant
from slipway.packaging.mlmodel import (
    RESERVED_NAMES,
    ServedModel,
    SessionOptions,
    mlmodel_files,
)
from slipway.packaging.provenance import make_statement
from slipway.packaging.sbom import describe_environment
from slipway.packaging.verify import MLFLOW_MARK, verify_bundle
from slipway.providers import PROVIDERS
from slipway.providers.hardware import lacks_vnni
from slipway.providers.recommended import recommended_entries
from slipway.reports import Provenance, TensorInfo
from slipway.samples.arrays import Arrays
from slipway.samples.golden import GoldenSet
from slipway.specs import PRECISIONS, Precision


@dataclass(frozen=True)
class BundleContent:
    """All that goes into a bundle; equal content gives equal bundles.

    A variant is a model file without external data, or a folder with `model.onnx` and its external
    data. An asset is a file or a folder. `selected` is the best variant per provider; the root's
    MLmodel serves the one for `cpu`, or else fp32. The input example of MLflow is the first row of
    the golden set.
    """

    name: str
    variants: dict[Precision, Path]
    golden: Path
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    provenance: Provenance
    evidence: dict[str, bytes] = field(default_factory=dict)
    """Reports, by their paths in the bundle."""
    assets: dict[str, Path] = field(default_factory=dict)
    selected: dict[str, Precision] = field(default_factory=dict)
    serving: dict[str, bytes] = field(default_factory=dict)
    """Recommended session settings by provider, as JSON."""
    session_options: dict[str, str | int] = field(default_factory=dict)
    """What a sweep chose for the sessions of the default variant, in MLflow's words."""
    half_io: frozenset[Precision] = frozenset()
    """Variants whose float32 inputs and outputs have become float16."""

    def signature(self, precision: Precision) -> tuple[tuple[TensorInfo, ...], ...]:
        """The inputs and the outputs of one variant."""
        if precision not in self.half_io:
            return self.inputs, self.outputs
        return tuple(tuple(map(_halved, tensors)) for tensors in (self.inputs, self.outputs))


def _halved(tensor: TensorInfo) -> TensorInfo:
    halved = tensor.dtype == "float32"
    return tensor.model_copy(update={"dtype": "float16"}) if halved else tensor


def build_bundle(target: Path, *, content: BundleContent) -> Manifest:
    """Write a bundle to a new folder, which appears only when it is complete and on the disk.

    A bundle of the same content that is there already is kept; one that has been damaged since is
    replaced.

    Raises:
        RequestError: when the content is incomplete or clashes, or when something else is at
            `target`.
        SourceNotFound: when a file of the content is absent.
        IntegrityError: when a folder of the content holds links or special files.
        EnvironmentMissing: when the disk is full or may not be written.
    """
    _check(content)
    temporary = _beside(target)
    try:
        temporary.mkdir(parents=True)
        manifest = _write(temporary, content)
        _move(temporary, target, manifest)
        _sync(target.parent)
    except FileNotFoundError as error:
        raise SourceNotFound(f"no file at {error.filename}") from error
    except OSError as error:
        raise os_failure(error, f"writing the bundle {target}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _move(built: Path, target: Path, manifest: Manifest) -> None:
    """Rename into place; keep a sound bundle of the same content, replace a damaged one."""
    try:
        built.rename(target)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}:
            raise
    else:
        return
    if not _holds(target, manifest):
        raise RequestError(
            f"{target} exists already and is not this bundle; remove it or choose another folder"
        )
    if verify_bundle(target).passed:
        return
    damaged = _beside(target)
    target.rename(damaged)
    built.rename(target)
    shutil.rmtree(damaged, ignore_errors=True)


def _holds(target: Path, manifest: Manifest) -> bool:
    try:
        return (target / MANIFEST_NAME).read_bytes() == manifest.to_json()
    except OSError:
        return False


def _beside(target: Path) -> Path:
    """A fresh hidden name in the same folder, hence in the same file system."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}")


def _check(content: BundleContent) -> None:
    if not content.variants:
        raise RequestError(f"{content.name}: a bundle needs a variant; none was given")
    for provider, precision in content.selected.items():
        if precision not in content.variants:
            raise RequestError(
                f"{content.name}: {precision} is selected for {provider}, but the bundle holds "
                f"only {', '.join(content.variants)}"
            )
    for name in (*content.evidence, *content.assets):
        try:
            check_relative_path(name)
        except ValueError as error:
            raise RequestError(f"{content.name}: {error}") from error


def _write(root: Path, content: BundleContent) -> Manifest:
    """Lay out all files, flush them, and write the manifest last."""
    _copy(content.golden, root / GOLDEN_NAME)
    for name, asset in content.assets.items():
        _copy(asset, root / "assets" / name)
    for name, data in content.evidence.items():
        _put(root / name, data)
    for provider, settings in content.serving.items():
        _put(root / _serving(provider), settings)
    variants = _write_variants(root, content)
    _write_default(root, content, variants)
    _put(root / SBOM_NAME, describe_environment(content.name, tools=content.provenance.tools))
    statement = make_statement(content.provenance, subjects=describe_tree(root).files)
    _put(root / PROVENANCE_NAME, canonical_json(statement))
    manifest = Manifest(
        name=content.name,
        files=describe_tree(root).files,
        variants=tuple(variant for variant, _ in variants.values()),
        selected=content.selected,
        serving={provider: _serving(provider) for provider in sorted(content.serving)},
    )
    for _, path in walk_files(root):
        _sync(path)
    _put(root / MANIFEST_NAME, manifest.to_json())
    for path in (root / MANIFEST_NAME, *(p for p in root.rglob("*") if p.is_dir()), root):
        _sync(path)
    return manifest


def _serving(provider: str) -> str:
    return f"serving/{provider}.json"


_Variants = dict[Precision, tuple[ManifestVariant, Digest]]


def _write_variants(root: Path, content: BundleContent) -> _Variants:
    written: _Variants = {}
    for precision in (p for p in PRECISIONS if p in content.variants):
        folder = root / "variants" / precision
        source = content.variants[precision]
        _copy(source, folder if source.is_dir() else folder / MODEL_NAME)
        if not (folder / MODEL_NAME).is_file():
            raise RequestError(f"the {precision} variant {source} holds no {MODEL_NAME}")
        tree = describe_tree(folder)
        for file in tree.files:
            if file.path in RESERVED_NAMES | {MLFLOW_MARK}:
                raise RequestError(
                    f"the {precision} variant holds a {file.path}, a name that MLflow's own files "
                    "have; leave it out"
                )
        identity = digest_bytes(tree.to_json())
        written[precision] = (
            ManifestVariant(
                precision=precision,
                model=model_path(precision),
                size_bytes=tree.size_bytes,
                session_config=recommended_entries(folder / MODEL_NAME),
            ),
            identity,
        )
        inputs, outputs = content.signature(precision)
        served = ServedModel(
            data=MODEL_NAME,
            size_bytes=tree.size_bytes,
            identity=(identity,),
            inputs=inputs,
            outputs=outputs,
            providers=_providers(
                p for p, chosen in content.selected.items() if chosen == precision
            ),
            session_options=_session_options(content, written[precision][0]),
        )
        for name, data in mlmodel_files(served).items():
            _put(folder / name, data)
    return written


def _write_default(root: Path, content: BundleContent, variants: _Variants) -> None:
    """The root's MLmodel, which serves the default variant in place, without a copy."""
    variant, _ = variants.get(_default(content)) or next(iter(variants.values()))
    inputs, outputs = content.signature(variant.precision)
    served = ServedModel(
        data=variant.model,
        size_bytes=variant.size_bytes,
        identity=(variant.precision, *(identity for _, identity in variants.values())),
        inputs=inputs,
        outputs=outputs,
        providers=_providers([]),
        session_options=_session_options(content, variant),
    )
    for name, data in mlmodel_files(served, example=_first_row(content, inputs)).items():
        _put(root / name, data)


def _session_options(content: BundleContent, variant: ManifestVariant) -> SessionOptions:
    """For mlflow.onnx: a sweep's choice for the default variant, and what this processor needs.

    An MLmodel cannot say "without VNNI": it has what the variants here were proven and timed with.
    """
    swept = content.session_options if variant.precision == _default(content) else {}
    entries = variant.session_config if lacks_vnni() else {}
    return {**swept, **({"extra_session_config": entries} if entries else {})}


def _default(content: BundleContent) -> Precision:
    return content.selected.get("cpu", "fp32")


def _providers(names: Iterable[str]) -> tuple[str, ...]:
    """Names for onnxruntime: the accelerators before the CPU that all falls back to."""
    chosen = [PROVIDERS[name].ort_name for name in names if name in PROVIDERS and name != "cpu"]
    return (*chosen, PROVIDERS["cpu"].ort_name)


def _first_row(content: BundleContent, tensors: Sequence[TensorInfo]) -> Arrays:
    """An input example: one row where the batch is dynamic, else the first golden case whole."""
    inputs = GoldenSet.load(content.golden).cases[0].inputs
    half = {tensor.name for tensor in tensors if tensor.dtype == "float16"}
    inputs = {n: array.astype("float16") if n in half else array for n, array in inputs.items()}
    if any(not tensor.shape or isinstance(tensor.shape[0], int) for tensor in content.inputs):
        return inputs
    return {name: array[:1] for name, array in inputs.items()}


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder of plain files; never a link, since onnx refuses linked weights."""
    if source.is_dir():
        for relative, path in walk_files(source):
            _copy(path, target / relative)
        return
    _make_room(target)
    shutil.copyfile(source, target)


def _put(target: Path, data: bytes) -> None:
    _make_room(target)
    target.write_bytes(data)


def _make_room(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RequestError(f"two files of the bundle clash at {target.parent.name}") from error
    if target.exists():
        raise RequestError(f"two files of the bundle clash at {target.name}")


def _sync(path: Path) -> None:
    """Flush a file or a folder's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
