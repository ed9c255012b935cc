"""Preflight rules: IR version and operator sets that the runtime can serve."""

from collections.abc import Iterator
from typing import Final

from slipway.reports import Finding
from slipway.specs import MAX_OPSET
from slipway.validation.walk import ModelWalk, normal_domain, quote

MAX_IR_VERSION: Final = 13
MAX_OPSETS: Final = {"": MAX_OPSET, "ai.onnx.ml": 5, "com.microsoft": 1, "com.microsoft.nchwc": 1}
"""What onnxruntime 1.31 loads; onnx 1.23 writes IR 14 and opset 28 by default.

The runtime does not say these numbers; a test asks it by loading models on both sides of each.
"""

OLDEST_TESTED_OPSET: Final = 7
"""onnxruntime tests its operators from this opset on; older ones work by luck."""

_CLAMP: Final = "export again with opset 18 and IR version 10"


def check_versions(walk: ModelWalk) -> Iterator[Finding]:
    """IR version and opsets against `MAX_IR_VERSION` and `MAX_OPSETS`."""
    ir_version = walk.model.ir_version
    if not 1 <= ir_version <= MAX_IR_VERSION:
        yield Finding(
            level="error",
            code="ir-version",
            message=f"IR version {ir_version}; onnxruntime loads 1 to {MAX_IR_VERSION}: {_CLAMP}",
        )
    versions: dict[str, set[int]] = {}
    for opset in walk.model.opset_import:
        versions.setdefault(normal_domain(opset.domain), set()).add(opset.version)
    if not versions:
        yield Finding(
            level="error",
            code="opset-missing",
            message="the model imports no operator set, so no operator has a meaning",
        )
    for domain, found in versions.items():
        # skl2onnx imports its domains twice; what matters is that they say the same.
        if len(found) > 1:
            yield Finding(
                level="error",
                code="opset-twice",
                message=f"domain {quote(domain)} is imported as opsets {sorted(found)}",
            )
    for opset in walk.model.opset_import:
        yield from _check_opset(normal_domain(opset.domain), opset.version)


def _check_opset(domain: str, version: int) -> Iterator[Finding]:
    newest = MAX_OPSETS.get(domain)
    if newest is None:
        return
    name = domain or "ai.onnx"
    if not 1 <= version <= newest:
        yield Finding(
            level="error",
            code="opset-version",
            message=f"opset {version} of {name}; onnxruntime supports 1 to {newest}: {_CLAMP}",
        )
    elif domain == "" and version < OLDEST_TESTED_OPSET:
        yield Finding(
            level="warning",
            code="opset-old",
            message=f"opset {version}; onnxruntime vouches for {OLDEST_TESTED_OPSET} and later",
        )
