"""PyTorch: every module class of torch.nn as a .pt2 program, beside plain `torch.onnx.export`."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils import _pytree as pytree

from benchmarks.coverage_judge import Framework, Reference
from slipway.protocols import ExportRequest
from tests import torch_cases
from tests.torch_cases import Case

# Sizes that no program is traced with, each by the dimension's name.
_RUNS = (
    {"batch": 1, "sequence": 4, "other": 7, "height": 12, "width": 8},
    {"batch": 3, "sequence": 9, "other": 3, "height": 11, "width": 13},
    {"batch": 7, "sequence": 2, "other": 2, "height": 8, "width": 16},
)


def _cases() -> dict[str, Callable[[], Case]]:
    return {name: lambda case=case: case for name, case in torch_cases.CASES.items()}  # type: ignore[misc]


def _plain(case: Case, _: ExportRequest, folder: Path) -> Path:
    """`torch.onnx.export` as its documentation calls it, with the same dimensions dynamic."""
    path = folder / "plain.onnx"
    torch.onnx.export(
        case.build(),
        case.arguments(),
        path,
        dynamo=True,
        dynamic_shapes=case.dynamic_shapes(),
        input_names=list(case.inputs),
        external_data=False,
        verbose=False,
    )
    return path


def _reference(case: Case, _: ExportRequest) -> Reference:
    """The module's own answers, run as it is."""
    module = case.build()
    runs = []
    for sizes in _RUNS:
        arguments = case.arguments(sizes)
        with torch.no_grad():
            leaves = pytree.tree_leaves(module(*arguments))
        inputs = {name: given.numpy() for name, given in zip(case.inputs, arguments, strict=True)}
        answers = [leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]
        runs.append((inputs, answers))
    return Reference(runs)


FRAMEWORK = Framework(_cases, torch_cases.save, _plain, _reference, group=60)
