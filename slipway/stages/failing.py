"""The page of an export that failed: of which kind that is, where, and the way out.

A model whose parity failed has a report of evidence; here there is no graph to judge.
"""

import platform
from pathlib import Path
from typing import Final, get_args

from slipway.errors import (
    CheckFailed,
    ChildCrashed,
    ChildFailed,
    ChildOutOfMemory,
    ChildTimedOut,
    ExportFailed,
    SlipwayError,
    UnsupportedOperator,
)
from slipway.exporters import TOOLS
from slipway.isolation.interpreters import ABSENT, versions_here
from slipway.reports import ExportFailure, FailureKind, TensorInfo
from slipway.specs import Framework, ReleaseSpec, file_name
from slipway.stages.interpreters import interpreter_for
from slipway.stages.making import Materials
from slipway.stages.pages import write_page

# The first that fits. A file that cannot be read, or that is not trusted, has no page: its message
# says all, and nothing is written for it.
_KINDS: Final[tuple[tuple[type[SlipwayError], FailureKind], ...]] = (
    (UnsupportedOperator, "unsupported-operator"),
    (ExportFailed, "converter"),
    (CheckFailed, "invalid-graph"),
    (ChildCrashed, "crash"),
    (ChildTimedOut, "timeout"),
    (ChildOutOfMemory, "out-of-memory"),
    (ChildFailed, "unforeseen"),
)


def describe_failure(
    spec: ReleaseSpec, materials: Materials, error: SlipwayError
) -> ExportFailure | None:
    """What the failure of an export is; None for what is no failure of the model's."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)), None)
    if kind is None:
        return None
    framework = spec.source.known_framework
    tools, python = _tools(framework)
    return ExportFailure(
        name=spec.name,
        framework=framework,
        source=file_name(spec.source.uri),
        source_digest=materials.source.digest,
        source_bytes=materials.source.size_bytes,
        kind=next((it for it in get_args(FailureKind) if it == error.facts.get("kind")), kind),
        message=str(error),
        facts=error.facts,
        opset=spec.opset,
        max_opset=spec.highest_opset,
        inputs=tuple(
            TensorInfo(name=name, dtype=asked.dtype, shape=asked.shape)
            for name, asked in spec.inputs.items()
        ),
        tools=tools,
        python=python,
        platform=platform.platform(),
    )


def write_failure(failure: ExportFailure) -> Path:
    """The page in the home's `reports`."""
    from slipway.reporting.failure import render_failure

    return write_page(failure.name, render_failure(failure))


def report_failure(spec: ReleaseSpec, materials: Materials, error: SlipwayError) -> None:
    """Write the page, where there is one, and tell the error of it."""
    failure = describe_failure(spec, materials, error)
    if failure is not None:
        error.report = str(write_failure(failure))


def _tools(framework: Framework) -> tuple[dict[str, str], str]:
    """Versions of what exports a framework's models, and of Python, where that happens."""
    packages = sorted({*TOOLS[framework], "slipway", "onnx", "onnxruntime", "numpy"})
    there = interpreter_for(framework)
    if there is not None:
        found, python = there.versions(packages), there.version
    else:
        found, python = versions_here(packages), platform.python_version()
    return {name: it for name, it in found.items() if it != ABSENT}, python
