"""Where everything lies in a bundle: the names of its files, as their paths from its root."""

from typing import Final

MANIFEST_NAME: Final = "manifest.json"
SIGNATURE_NAME: Final = "signature.json"
PROVENANCE_NAME: Final = "provenance.json"
SBOM_NAME: Final = "sbom.cdx.json"

EVIDENCE_NAME: Final = "evidence/evidence.json"
SPEC_NAME: Final = "evidence/spec.json"
MATERIALS_NAME: Final = "evidence/materials.json"
REPORT_NAME: Final = "evidence/report.html"

GOLDEN_NAME: Final = "golden/golden.npz"
MODEL_NAME: Final = "model.onnx"
"""Of a variant, in its folder."""


def benchmark_path(provider: str) -> str:
    """What was measured on a provider, and under which conditions."""
    return f"evidence/benchmark-{provider}.json"


def model_path(precision: str) -> str:
    """A variant's model file."""
    return f"variants/{precision}/{MODEL_NAME}"
