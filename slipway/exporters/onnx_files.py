"""ONNX models given as a source: found, read within bounds, and refused where a rule is broken.

Nothing but protobuf's parser sees the file before the static rules have passed it.
"""

from pathlib import Path
from typing import Final

import onnx
from onnx.external_data_helper import load_external_data_for_model, uses_external_data

from slipway.errors import CheckFailed, SourceNotFound, UnreadableModel
from slipway.exporters.cleaning import IR_VERSION
from slipway.reports import Finding
from slipway.validation.external import ExternalFiles, OutsideError
from slipway.validation.preflight import inspect_model, read_bounded
from slipway.validation.tensors import needed_bytes
from slipway.validation.versions import MAX_IR_VERSION
from slipway.validation.walk import walk_model

MAX_WEIGHT_BYTES: Final = 64 << 30
# Tied weights are one range of a file read twice; a file read a thousand times is a bomb.
_MAX_READINGS: Final = 4
# Where the file itself is what is wrong, not the model in it.
_DAMAGE: Final = frozenset({"external-data", "tensor-size", "opset-missing", "ir-version"})


def find_model(path: Path) -> Path:
    """The model's file: the path itself, or the folder's model.onnx or its only .onnx file.

    Raises:
        SourceNotFound, UnreadableModel: when there is none, or no telling which.
    """
    if not path.exists():
        raise SourceNotFound(f"there is no file at {path}")
    if not path.is_dir():
        return path
    found = sorted(path.glob("*.onnx"))
    named = [file for file in found if file.name == "model.onnx"]
    if len(found) != 1 and not named:
        raise UnreadableModel(
            f"{path.name} is a folder with {len(found)} .onnx files and no model.onnx; call the "
            "model's file model.onnx, with its external data beside it"
        )
    chosen = (named or found)[0]
    if chosen.is_symlink():
        raise UnreadableModel(f"{path.name}: {chosen.name} is a symbolic link; copy the file")
    return chosen


def read_model(path: Path) -> onnx.ModelProto:
    """The model with external data left where it is; its IR version is one that runtimes load.

    Raises:
        UnreadableModel: when the file is damaged, or its external data is not in its folder.
        CheckFailed: when the model can never be right, with the rule that it breaks.
    """
    model = read_bounded(path)
    if model.ir_version > MAX_IR_VERSION:
        # onnx 1.23 writes 14 by default, which says nothing about what is in the file.
        model.ir_version = IR_VERSION
    findings = inspect_model(model, folder=path.parent)
    for finding in findings:
        if finding.level == "error":
            raise _refusal(finding, path)
    _check_weight_bytes(model, path)
    return model


def load_weights(model: onnx.ModelProto, folder: Path) -> None:
    """Bring external data into memory; in place.

    Raises:
        UnreadableModel: when it cannot be read.
    """
    try:
        load_external_data_for_model(model, str(folder))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UnreadableModel(f"the external data cannot be read: {error}") from error
    for placed in walk_model(model, folder=folder).tensors:
        placed.tensor.ClearField("data_location")  # said or not, the same bytes are here


def _check_weight_bytes(model: onnx.ModelProto, path: Path) -> None:
    files = ExternalFiles(path.parent)
    unfolded = 0
    for placed in walk_model(model, folder=path.parent).tensors:
        if uses_external_data(placed.tensor):
            needed = needed_bytes(placed.tensor)
            if needed is None:
                raise UnreadableModel(f"{path.name}: strings cannot be external data")
            try:
                files.locate(placed.tensor, needed=needed)
            except OutsideError as error:
                raise UnreadableModel(f"{path.name}: external data: {error}") from error
            unfolded += needed
    if unfolded > min(MAX_WEIGHT_BYTES, _MAX_READINGS * files.total_bytes):
        raise UnreadableModel(
            f"{path.name} unfolds to {unfolded} bytes of weights from files of "
            f"{files.total_bytes}; the bounds are {_MAX_READINGS} times the files and "
            f"{MAX_WEIGHT_BYTES} bytes"
        )


def _refusal(finding: Finding, path: Path) -> UnreadableModel | CheckFailed:
    place = f"{finding.place}: " if finding.place else ""
    message = f"{path.name}: {place}{finding.message}"
    if finding.code == "external-data" and "cannot be opened" in finding.message:
        message += "; a model with external data is given as a folder: set source.uri to it"
    return UnreadableModel(message) if finding.code in _DAMAGE else CheckFailed(message)
