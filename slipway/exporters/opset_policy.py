"""Which opset an export goes on to when the one asked for lacks an operator.

Converters say so each in their own words; what they name is looked up in ONNX's own schemas.
"""

import re
from pathlib import Path
from typing import Final

import onnx

from slipway.errors import ExportFailed, UnsupportedOperator
from slipway.protocols import Exporter, ExportRequest, ExportResult
from slipway.reports import Finding

# skl2onnx: "requested version 11 < 16 schema version", "no longer works for opset 15 < 18";
# ours and tf2onnx: "wrote opset 18", "needs opset 12", "opset >= 13".
_NEEDED: Final = re.compile(
    r"\b\d+ < (\d+)\b|\b(?:wrote|needs|requires|since) opset(?: version)? (\d+)|opset ?>= ?(\d+)"
)
# torch.onnx has functions of its own for later opsets, and says nothing of them.
_SILENT: Final = frozenset({"pytorch", "transformers"})
# skl2onnx's builder, of an operator that had fewer inputs at the opset it was told.
_SIGNATURE: Final = re.compile(r"Operator '(\w+)' expects a number of inputs")
_WORD: Final = re.compile(r"\b(?:Onnx)?([A-Z][A-Za-z0-9]+)")


def export_by_policy(exporter: Exporter, request: ExportRequest, scratch: Path) -> ExportResult:
    """Export with the opset asked for; with a later one where an operator needs it.

    How far it may go is `request.max_opset`. The opset taken is reported with the reason.

    Raises:
        ExportFailed: naming the opset that is needed, where the policy does not allow it.
    """
    asked, failures = request, list[ExportFailed]()
    before = set(scratch.iterdir())
    while True:
        try:
            result = exporter(asked, scratch)
        except ExportFailed as failure:
            failures.append(failure)
            needed = needed_opset(str(failure), asked.opset) or _last_try(failure, asked)
            if needed is None:
                raise _nowhere(failures, asked) from None
            if needed > max(request.opset, request.max_opset):
                raise _not_allowed(failures[0], needed, request) from failure
            asked = asked.model_copy(update={"opset": needed, "keep_opset": False})
            _clear(set(scratch.iterdir()) - before)
            continue
        return _told(result, request, failures)


def needed_opset(message: str, opset: int) -> int | None:
    """The first opset, later than this one, that a converter's refusal asks for or hints at."""
    numbers = [int(next(filter(None, found))) for found in _NEEDED.findall(message)]
    later = [number for number in numbers if number > opset]
    later += [
        version
        for name in _SIGNATURE.findall(message)
        for version in _versions(name)
        if version > opset
    ]
    if not later:  # no converter's word for it: ONNX's own
        later = [since for name in _WORD.findall(message) if (since := _since(name)) > opset]
    return min(later, default=None)


def _last_try(failure: ExportFailed, asked: ExportRequest) -> int | None:
    """The highest opset allowed, for a converter that does not say which one has its operator."""
    silent = isinstance(failure, UnsupportedOperator) and asked.source.framework in _SILENT
    return asked.max_opset if silent and asked.opset < asked.max_opset else None


def _nowhere(failures: list[ExportFailed], asked: ExportRequest) -> ExportFailed:
    first = failures[0]
    if len(failures) == 1:
        return first
    message = f"{first}; nor is it exported at opset {asked.opset}"
    return type(first)(message, facts={**first.facts, "tried_opset": asked.opset})


def _since(name: str) -> int:
    """The opset that brought an operator of ONNX; 0 for what is none."""
    return min(_versions(name), default=0)


def _versions(name: str) -> list[int]:
    """The opsets that brought or changed an operator of ONNX."""
    return [
        schema.since_version
        for schema in onnx.defs.get_all_schemas_with_history()
        if schema.name == name and schema.domain == ""
    ]


def _not_allowed(failure: ExportFailed, needed: int, request: ExportRequest) -> ExportFailed:
    return UnsupportedOperator(
        f"{failure}; opset {needed} has what is missing, and the spec allows opset "
        f"{request.max_opset}: set max_opset: {needed}, or opset: {needed}",
        facts={"opset": request.opset, **failure.facts, "needed_opset": needed},
    )


def _told(
    result: ExportResult, request: ExportRequest, failures: list[ExportFailed]
) -> ExportResult:
    if not failures:
        return result
    message = (
        f"opset {result.opset} was taken in place of {request.opset}, with which "
        f"{str(failures[0])[:300]}; max_opset in the spec says how far an export may go"
    )
    finding = Finding(level="warning", code="opset-raised", message=message)
    return result.model_copy(update={"findings": (*result.findings, finding)})


def _clear(left_over: set[Path]) -> None:
    """Remove what the refused attempt left."""
    for path in left_over:
        if path.is_file():
            path.unlink()
