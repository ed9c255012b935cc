"""From evidence to a bundle on this machine: build, self-test, unpack."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from slipway.artifacts import (
    BUNDLE_MEDIA_TYPE,
    Value,
    canonical_json,
    digest_bytes,
)
from slipway.errors import CheckFailed, IntegrityError, RequestError, Transient
from slipway.packaging.layout import (
    EVIDENCE_NAME,
    MATERIALS_NAME,
    MODEL_NAME,
    REPORT_NAME,
    SPEC_NAME,
    benchmark_path,
    model_path,
)
from slipway.packaging.manifest import bundle_tree
from slipway.packaging.verify import verify_bundle
from slipway.protocols import SelftestRequest
from slipway.providers import PROVIDERS
from slipway.providers.hardware import lacks_vnni
from slipway.providers.recommended import recommended_entries
from slipway.reports import (
    BenchmarkSuite,
    BundleReport,
    Evidence,
    Provenance,
    SealedBundle,
    SelftestReport,
    SweepReport,
)
from slipway.settings import Settings
from slipway.specs import PATH_FIELDS, Precision, ReleaseSpec, file_name
from slipway.stages.making import Materials
from slipway.stages.pages import write_page
from slipway.stages.signing import put_signature, sign_stored
from slipway.stages.workspace import Workspace
from slipway.stores import open_store
from slipway.stores.trees import fetch, put_tree

# onnxruntime's numbers of them, which mlflow.onnx writes.
GRAPH_LEVELS = {"none": 0, "basic": 1, "extended": 2, "all": 99}


def spec_identity(spec: ReleaseSpec) -> dict[str, Any]:
    """The spec without the places of its files, whose contents have digests of their own."""
    raw = spec.model_dump(mode="json")
    for section, field in PATH_FIELDS:
        if raw[section][field]:
            raw[section][field] = file_name(raw[section][field])
    data = raw["data"]
    if data["calibration"] and data["calibration"] == data["evaluation"]:
        # Two files of one name stay two: a spec that names one file for both is refused.
        data |= {role: f"{role}/{data[role]}" for role in ("calibration", "evaluation")}
    if raw["source"]["factory"]:
        file, _, name = raw["source"]["factory"].rpartition(":")
        raw["source"]["factory"] = f"{Path(file).name}:{name}"
    raw["assets"] = [file_name(asset) for asset in raw["assets"]]
    if "opset" not in spec.model_fields_set:
        # Not to ask for one means something else than to ask for the default.
        del raw["opset"]
    return raw


def describe_provenance(spec: ReleaseSpec, materials: Materials, evidence: Evidence) -> Provenance:
    """Where a bundle comes from; no times and no paths, so that equal work gives equal bytes."""
    identity = spec_identity(spec)
    return Provenance(
        source_digest=materials.source.digest,
        data_digests=materials.digests(),
        folders=materials.folders(),
        spec=identity,
        spec_digest=digest_bytes(canonical_json(identity)),
        tools=tools_used(evidence),
        python=platform.python_version(),
        platform=platform.platform(),
    )


def tools_used(evidence: Evidence) -> dict[str, str]:
    """Versions of all that decides what a release makes and what is found of it."""
    tools = {tool: version(tool) for tool in ("slipway", "onnxruntime", "onnx", "numpy")}
    return {**tools, **evidence.export.tools}


def portable_evidence(evidence: Evidence) -> Evidence:
    """Evidence whose references carry digests and no places of this machine."""
    return Evidence.model_validate(_without_places(evidence))


def portable_materials(materials: Materials) -> Materials:
    """The same of what a release was made from, so that it can be made again from the store."""
    return Materials.model_validate(_without_places(materials.model_copy(update={"origin": None})))


def _without_places(found: Value) -> Any:  # noqa: ANN401 - any JSON
    """A value as JSON, in which every reference's place is its digest."""

    def strip(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            known = {"uri", "digest"} <= value.keys()
            return {
                k: (value["digest"] if known and k == "uri" else strip(v)) for k, v in value.items()
            }
        return [strip(item) for item in value] if isinstance(value, list) else value

    return strip(found.model_dump(mode="json"))


def build_bundle(spec: ReleaseSpec, materials: Materials, evidence: Evidence) -> SealedBundle:
    """Lay out and seal the bundle, and put it into the store."""
    # Imported here, since a release that is unchanged builds nothing.
    from slipway.packaging.bundle import BundleContent
    from slipway.packaging.bundle import build_bundle as write_bundle
    from slipway.reporting.html import render_report

    evidence = portable_evidence(evidence)
    provenance = describe_provenance(spec, materials, evidence)
    with Workspace() as work:
        variants = {
            variant.precision: work.fetch_model(variant.model, variant.precision).parent
            for variant in evidence.variants
            if variant.model is not None
        }
        folder = work.scratch / "bundle"
        manifest = write_bundle(
            folder,
            content=BundleContent(
                name=spec.name,
                variants=variants,
                golden=work.fetch(evidence.export.golden, "golden.npz"),
                inputs=evidence.export.inputs,
                outputs=evidence.export.outputs,
                provenance=provenance,
                evidence={
                    REPORT_NAME: render_report(evidence, provenance=provenance).encode(),
                    EVIDENCE_NAME: canonical_json(evidence.model_dump(mode="json")),
                    SPEC_NAME: canonical_json(provenance.spec),
                    MATERIALS_NAME: canonical_json(
                        portable_materials(materials).model_dump(mode="json")
                    ),
                    **{
                        benchmark_path(suite.provider): canonical_json(
                            suite.model_dump(mode="json")
                        )
                        for suite in evidence.suites
                    },
                },
                assets={
                    name: work.fetch(ref, f"asset-{index}")
                    for index, (name, ref) in enumerate(materials.assets.items())
                },
                selected=evidence.selected,
                serving={
                    suite.provider: canonical_json(
                        recommended_settings(
                            suite, suite.sweep, entries=_entries(variants, suite.sweep)
                        )
                    )
                    for suite in evidence.suites
                    if suite.sweep is not None
                },
                session_options=_mlflow_options(evidence),
                half_io=frozenset({"fp16"} if _halves_io(spec) else ()),
            ),
        )
        ref = put_tree(work.store, folder, media_type=BUNDLE_MEDIA_TYPE, tree=bundle_tree(folder))
        return SealedBundle(digest=manifest.digest, ref=ref)


def _entries(variants: Mapping[Precision, Path], sweep: SweepReport) -> dict[str, str]:
    """What the swept variant asks of its sessions on this processor."""
    folder = next((path for name, path in variants.items() if name == sweep.precision), None)
    return recommended_entries(folder / MODEL_NAME) if folder and lacks_vnni() else {}


def recommended_settings(
    suite: BenchmarkSuite, sweep: SweepReport, *, entries: Mapping[str, str]
) -> dict[str, object]:
    """What a server opens its session with, as onnxruntime calls it.

    `entries` are those that the variant asks for itself.
    """
    return {
        "variant": model_path(sweep.precision),
        "provider": PROVIDERS[suite.provider].ort_name,
        "provider_options": sweep.provider_options,
        "intra_op_num_threads": sweep.settings.intra_op_threads,
        "execution_mode": sweep.settings.execution_mode,
        "graph_optimization_level": sweep.settings.graph_optimization,
        "session_config_entries": {"session.intra_op.allow_spinning": "0", **entries},
        "batch_size": sweep.largest_within_slo or sweep.best_batch_size,
        "measured_on": suite.conditions.model_dump(mode="json", include={"host", "cpu", "cores"})
        if suite.conditions
        else {},
    }


def _mlflow_options(evidence: Evidence) -> dict[str, str | int]:
    """The same for mlflow.onnx, whose default model is the one for the CPU."""
    for suite in evidence.suites:
        swept = suite.sweep.precision if suite.sweep else None
        if suite.provider == "cpu" and suite.sweep and swept == evidence.selected.get("cpu"):
            settings = suite.sweep.settings
            return {
                "intra_op_num_threads": settings.intra_op_threads,
                "execution_mode": settings.execution_mode,
                "graph_optimization_level": GRAPH_LEVELS[settings.graph_optimization],
            }
    return {}


def _halves_io(spec: ReleaseSpec) -> bool:
    return spec.precisions.fp16 is not None and not spec.precisions.fp16.keep_io_types


def selftest_sealed(spec: ReleaseSpec, bundle: SealedBundle) -> SelftestReport:
    """Fetch the bundle from the store and replay every variant, isolated.

    Raises:
        CheckFailed: naming the variant that does not repeat its answers.
    """
    with Workspace() as work:
        report = work.run(
            "slipway.stages.children:selftest",
            SelftestRequest(bundle=work.fetch(bundle.ref, "bundle")),
            returns=SelftestReport,
            what=f"the self-test of {spec.name}",
        )
    for variant in report.variants:
        if not variant.passed:
            raise CheckFailed(f"the self-test of {variant.precision} failed: {variant.reason}")
    return report


def unpack_bundle(bundle: SealedBundle, *, settings: Settings | None = None) -> BundleReport:
    """The bundle as a folder under the settings' home: found there whole, or fetched; signed.

    Args:
        bundle: What is in the store.
        settings: Which home and which store; from the environment if None.

    Raises:
        IntegrityError: when a folder of that digest is there and is not what was sealed.
        RequestError: when a signing key is configured and cannot be used.
    """
    settings = settings or Settings()
    folder = settings.bundles / bundle.digest.replace(":", "/")
    if not folder.exists():
        try:
            fetch(open_store(settings.store_uri), bundle.ref, folder)
        except (RequestError, Transient):
            if not folder.exists():  # else another release of the same content was first
                raise
    store = open_store(settings.store_uri)
    sign_stored(store, bundle.digest, settings)
    put_signature(store, bundle.digest, folder, settings)
    verified = verify_bundle(folder, digest=bundle.digest)
    if not verified.passed:
        wrong = "; ".join(finding.message for finding in verified.findings)
        raise IntegrityError(
            f"{folder} is not the bundle that was sealed ({wrong}); remove the folder and run again"
        )
    return BundleReport(
        path=str(folder),
        digest=bundle.digest,
        ref=bundle.ref,
        report=str(folder / REPORT_NAME),
    )


def write_report(spec: ReleaseSpec, materials: Materials, evidence: Evidence) -> Path:
    """The HTML report of a release that failed and so made no bundle, in the home's `reports`."""
    from slipway.reporting.html import render_report

    evidence = portable_evidence(evidence)
    provenance = describe_provenance(spec, materials, evidence)
    return write_page(evidence.name, render_report(evidence, provenance=provenance))
