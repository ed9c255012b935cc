"""Comparing an unpacked bundle with its manifest: every deviation by its name."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import ValidationError

from slipway.artifacts import Digest, FileEntry, digest_file
from slipway.errors import IntegrityError, SourceNotFound, os_failure
from slipway.packaging.layout import EVIDENCE_NAME, MANIFEST_NAME, SIGNATURE_NAME
from slipway.packaging.manifest import Manifest, read_manifest
from slipway.packaging.mlmodel import MLMODEL_NAME
from slipway.providers.hardware import differs
from slipway.reports import Evidence, Finding, VerifyReport

MADE_ELSEWHERE: Final = "made-elsewhere"

MLFLOW_MARK: Final = "registered_model_meta"
"""MLflow writes this file beside the MLmodel of whatever it loads through `models:/`."""


def verify_bundle(path: Path, *, digest: Digest | None = None) -> VerifyReport:
    """Find what differs from the manifest, and whether the manifest is the expected one.

    Without `digest` the report says that the bundle is in itself sound; whose bundle it is, only
    a digest from elsewhere (a registry, a reference) can say.

    Codes of the findings: `manifest` (absent, unreadable or altered), `digest` (another bundle than
    expected), `missing`, `changed`, `extra`, `link` (symbolic), `special` (neither file nor
    folder), `unreadable`; and as a warning `hardlink`: the bytes are right, but can be changed
    through the other name, and onnx refuses external data with two names; `made-elsewhere`: a graph
    that was optimized for another machine.

    Not counted as extra: `signature.json` beside the manifest, which `signing` is for, and
    `registered_model_meta` beside an MLmodel of the manifest, a plain file that MLflow writes into
    what it loads and that nothing reads.

    Raises:
        SourceNotFound: when there is no such folder.
        EnvironmentMissing: when a folder in it may not be listed.
    """
    if not path.is_dir():
        raise SourceNotFound(f"no bundle at {path}")
    try:
        manifest = read_manifest(path)
    except IntegrityError as error:
        finding = _error("manifest", f"{MANIFEST_NAME}: {error}", MANIFEST_NAME)
        return VerifyReport(passed=False, digest=None, files=0, findings=(finding,))
    findings = [] if digest in {None, manifest.digest} else [_other_bundle(manifest.digest, digest)]
    try:
        there = dict(_walk(path))
    except OSError as error:  # a folder without the right to list it
        raise os_failure(error, f"reading the bundle {path}") from error
    findings += (f for file in manifest.files for f in _compare(path, file, there))
    findings += _unlisted(there, {file.path for file in manifest.files})
    findings += _made_elsewhere(path, manifest)
    return VerifyReport(
        passed=all(finding.level != "error" for finding in findings),
        digest=manifest.digest,
        files=len(manifest.files),
        findings=tuple(findings),
    )


def _made_elsewhere(root: Path, manifest: Manifest) -> Iterator[Finding]:
    """Variants whose graph was optimized for another machine than this one."""
    if not any(variant.precision == "fp32-optimized" for variant in manifest.variants):
        return
    try:
        evidence = Evidence.model_validate_json((root / EVIDENCE_NAME).read_bytes())
    except (OSError, ValidationError):  # changed or absent: said already
        return
    shipped = {variant.precision for variant in manifest.variants}
    for variant in evidence.variants:
        made_for = variant.conversion.made_for
        if variant.precision in shipped and made_for and (difference := differs(made_for)):
            yield Finding(
                level="warning",
                code=MADE_ELSEWHERE,
                message=f"{variant.precision} was made for {difference}; serve fp32 here, or make "
                "it on this machine",
                place=variant.precision,
            )


def _walk(root: Path, inside: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything under a folder but folders, without following links."""
    with os.scandir(root / inside) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            relative = f"{inside}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, f"{relative}/")
            else:
                yield relative, entry.stat(follow_symlinks=False)


def _compare(root: Path, file: FileEntry, there: dict[str, os.stat_result]) -> Iterator[Finding]:
    if file.path not in there:
        yield _error("missing", f"{file.path} is in the manifest but not there", file.path)
        return
    info = there[file.path]
    if not stat.S_ISREG(info.st_mode):
        yield _not_plain(file.path, info)
        return
    if info.st_nlink > 1:
        yield Finding(
            level="warning",
            code="hardlink",
            message=f"{file.path} has {info.st_nlink} names; changed through one it changes here",
            place=file.path,
        )
    if info.st_size != file.size_bytes:
        yield _error(
            "changed",
            f"{file.path} has {info.st_size} bytes, {file.size_bytes} were sealed",
            file.path,
        )
        return
    try:
        found = digest_file(root / file.path)
    except OSError as error:
        yield _error("unreadable", f"{file.path} cannot be read: {error.strerror}", file.path)
        return
    if found != file.digest:
        yield _error("changed", f"{file.path} is {found}, {file.digest} was sealed", file.path)


def _unlisted(there: dict[str, os.stat_result], listed: set[str]) -> Iterator[Finding]:
    for path, info in there.items():
        if path in listed:
            continue
        if not stat.S_ISREG(info.st_mode):
            yield _not_plain(path, info)
        elif path not in {MANIFEST_NAME, SIGNATURE_NAME} and not _is_mlflows(path, listed):
            yield _error("extra", f"{path} is not in the manifest", path)


def _is_mlflows(path: str, listed: set[str]) -> bool:
    place = PurePosixPath(path)
    return place.name == MLFLOW_MARK and str(place.with_name(MLMODEL_NAME)) in listed


def _not_plain(path: str, info: os.stat_result) -> Finding:
    if stat.S_ISLNK(info.st_mode):
        return _error("link", f"{path} is a symbolic link; only plain files are sealed", path)
    return _error("special", f"{path} is neither a file nor a folder", path)


def _other_bundle(found: Digest, expected: Digest | None) -> Finding:
    return _error(
        "digest", f"{MANIFEST_NAME} is that of bundle {found}, not {expected}", MANIFEST_NAME
    )


def _error(code: str, message: str, place: str) -> Finding:
    return Finding(level="error", code=code, message=message, place=place)
