"""From what the spec names to ONNX models: fetch, export, convert."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from pydantic import Field

from slipway.artifacts import ArtifactRef, Value
from slipway.errors import ChildOutOfMemory, DataError, IntegrityError
from slipway.exporters import memory_advice
from slipway.exporters.assets import source_assets
from slipway.precisions.relay import STATE, relay
from slipway.protocols import (
    AnyPrecisionSpec,
    ConvertRequest,
    ConvertResult,
    ExportRequest,
    ExportResult,
)
from slipway.providers import check_options
from slipway.reports import ConversionReport, ExportReport
from slipway.specs import (
    Framework,
    Precision,
    ReleaseSpec,
    SourceSpec,
    file_name,
    local_path,
    scheme_of,
)
from slipway.stages.ingesting import ingest, ingest_source, refuse_hard_links
from slipway.stages.interpreters import explaining, interpreter_for
from slipway.stages.kept import Origin
from slipway.stages.proving import validate_request
from slipway.stages.workspace import Workspace

# Precisions that can give up speed for accuracy until they are within the budget.
JUDGED: Final[frozenset[Precision]] = frozenset({"int8-static"})


class Materials(Value):
    """Everything that a release is made from, in the store."""

    source: ArtifactRef
    factory: ArtifactRef | None = None
    golden: ArtifactRef | None = None
    calibration: ArtifactRef | None = None
    evaluation: ArtifactRef | None = None
    assets: dict[str, ArtifactRef] = Field(default_factory=dict, description="By file name.")
    origin: Origin | None = Field(
        default=None, description="For a model from a registry; no part of its content."
    )

    def complete(self, spec: ReleaseSpec) -> ReleaseSpec:
        """The spec with what the registry added: the framework, a version for an alias."""
        if self.origin is None:
            return spec
        source = spec.source.model_copy(update=self.origin.model_dump())
        return spec.model_copy(update={"source": source})

    @property
    def sample_data(self) -> ArtifactRef | None:
        """Data that golden rows may be taken from when the spec gives none of its own."""
        return None if self.golden else self.evaluation or self.calibration

    def calibration_for(self, precision: Precision) -> ArtifactRef | None:
        """Calibration data, for the precisions whose bytes it decides."""
        return self.calibration if precision in {"fp16", "int8-static"} else None

    def digests(self) -> dict[str, str]:
        """Digest by role, for the provenance; the source's own is not among them."""
        return {role: ref.digest for role, ref in self._by_role() if role != "source"}

    def folders(self) -> tuple[str, ...]:
        """The roles whose digest is that of a list of files."""
        return tuple(role for role, ref in self._by_role() if ref.is_tree)

    def refs(self) -> tuple[ArtifactRef, ...]:
        """All of it."""
        return tuple(ref for _, ref in self._by_role())

    def _by_role(self) -> Iterator[tuple[str, ArtifactRef]]:
        named = {"source": self.source, "golden": self.golden, "calibration": self.calibration}
        named |= {"evaluation": self.evaluation, "factory": self.factory}
        named |= {f"assets/{name}": ref for name, ref in self.assets.items()}
        return ((role, ref) for role, ref in named.items() if ref is not None)


def fetch_materials(spec: ReleaseSpec, *, workspace: Workspace | None = None) -> Materials:
    """Put the files that the spec names into the store, from wherever they are.

    Raises:
        SourceNotFound: naming the entry of the spec and the path.
        SpecError: for an address that nothing reads, a framework that the model is not of, or an
            option that a provider does not take.
        RequestError, EnvironmentMissing: when a server refuses, or its client is not installed.
        StoreUnavailable, RegistryUnavailable: when a server does not answer.
        IntegrityError: when the source is not the bytes that `sha256` names.
    """
    check_options(spec.benchmark.provider_options)
    work = workspace or Workspace()
    here = local_path(spec.source.uri) if scheme_of(spec.source.uri) == "file" else None
    if here is not None and spec.source.framework == "onnx":
        refuse_hard_links(here)
    source, origin = ingest_source(work, spec.source)
    if spec.source.digest is not None and spec.source.digest != source.digest:
        raise IntegrityError(
            f"source.uri: {spec.source.uri} has {source.digest}, the spec says "
            f"{spec.source.digest}; it is another file, or was changed"
        )
    data = spec.data
    factory = factory_file(spec.source)
    return Materials(
        source=source,
        factory=ingest(work, factory, "source.factory") if factory else None,
        golden=ingest(work, data.golden, "data.golden") if data.golden else None,
        calibration=ingest(work, data.calibration, "data.calibration")
        if data.calibration
        else None,
        evaluation=ingest(work, data.evaluation, "data.evaluation") if data.evaluation else None,
        assets={
            file_name(uri): ingest(work, uri, "assets")
            for uri in (*_own_assets(spec.source.framework, here), *spec.assets)
        },
        origin=origin,
    )


def _own_assets(framework: Framework | None, folder: Path | None) -> list[str]:
    """What serving needs from the source's own folder; an asset of the spec's replaces it."""
    if framework is None or folder is None:
        return []
    return [str(path) for path in source_assets(framework, folder)]


def factory_file(source: SourceSpec) -> str | None:
    """The factory's file, where it is a file and not an installed module."""
    file = (source.factory or "").rpartition(":")[0]
    return file if file.endswith(".py") else None


def export_model(
    spec: ReleaseSpec,
    source: ArtifactRef,
    *,
    factory: ArtifactRef | None = None,
    golden: ArtifactRef | None = None,
    sample_data: ArtifactRef | None = None,
) -> ExportReport:
    """Export the source in a child process and store the model with its golden set.

    The child's interpreter is this one, or the one that SLIPWAY_PYTHON_<FRAMEWORK> names.
    """
    framework = spec.source.known_framework
    interpreter = interpreter_for(framework)
    with (
        Workspace() as work,
        _memory_explained(framework, source),
        explaining(framework, interpreter),
    ):
        result = work.run(
            "slipway.exporters:export",
            export_request(
                work, spec, source, factory=factory, golden=golden, sample_data=sample_data
            ),
            returns=ExportResult,
            what=f"the export of {file_name(spec.source.uri)}",
            python=interpreter.path if interpreter else None,
        )
        return ExportReport(
            model=work.keep_model(result.model),
            golden=work.keep_golden(result.golden),
            framework=framework,
            **result.model_dump(exclude={"model", "golden"}),
        )


def export_request(
    work: Workspace,
    spec: ReleaseSpec,
    source: ArtifactRef,
    *,
    factory: ArtifactRef | None = None,
    golden: ArtifactRef | None = None,
    sample_data: ArtifactRef | None = None,
) -> ExportRequest:
    """What an exporter is given, with its files in the workspace."""
    return ExportRequest(
        source=spec.source,
        path=work.fetch(source, file_name(spec.source.uri)),
        factory_path=work.fetch_if(factory, "factory.py"),
        inputs=spec.inputs,
        outputs=spec.outputs,
        opset=spec.opset,
        max_opset=spec.highest_opset,
        keep_opset="opset" not in spec.model_fields_set,
        golden_inputs=work.fetch_if(golden, "golden-inputs"),
        sample_data=work.fetch_if(sample_data, "sample-data"),
        labels=spec.data.labels,
    )


@contextmanager
def _memory_explained(framework: Framework, source: ArtifactRef) -> Iterator[None]:
    """Say how much the framework's converter is known to need when it ran out of memory."""
    try:
        yield
    except ChildOutOfMemory as error:
        advice = memory_advice(framework, source.size_bytes)
        raise ChildOutOfMemory(f"{error}{advice}") from error


def convert_model(
    spec: ReleaseSpec,
    precision: Precision,
    model: ArtifactRef,
    *,
    calibration: ArtifactRef | None = None,
    golden: ArtifactRef | None = None,
    evaluation: ArtifactRef | None = None,
    baseline: float | None = None,
) -> ConversionReport:
    """Make one precision in a child process and store it.

    With a golden set, static INT8 is held to the budget while it is made.
    """
    options = cast("AnyPrecisionSpec", spec.precisions.asked()[precision])
    if precision == "fp32":
        return ConversionReport(precision=precision, status="passed", model=model)
    with Workspace() as work:
        source = work.fetch_model(model, "fp32")
        judge = None
        if golden is not None and precision in JUDGED:
            judge = validate_request(
                work, spec, precision, source, golden, evaluation=evaluation, baseline=baseline
            )
        request = ConvertRequest(
            precision=precision,
            model=source,
            options=options,
            calibration=work.fetch_if(calibration, "calibration"),
            judge=judge,
        )
        result = _convert(work, request, _state_of(work, model, calibration, options))
        return ConversionReport(
            precision=precision,
            model=work.keep_model(result.model) if result.model else None,
            **result.model_dump(exclude={"model"}),
        )


def _state_of(
    work: Workspace, model: ArtifactRef, calibration: ArtifactRef | None, options: AnyPrecisionSpec
) -> Path:
    """Where the calibration of this model with this data is kept until it is done."""
    parts = (model.digest, calibration.digest if calibration else "", options.model_dump_json())
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return work.settings.root / "calibrations" / f"{key}.npz"


def _convert(work: Workspace, request: ConvertRequest, state: Path) -> ConvertResult:
    """Convert, going on from a calibration that was killed; one that is of no use is forgotten."""

    def run() -> ConvertResult:
        return work.run(
            "slipway.precisions:convert",
            request,
            returns=ConvertResult,
            what=f"the conversion to {request.precision}",
            look=relay(work.scratch, keep=state),
        )

    resumed = state.exists()
    try:
        result = run()
    except DataError:
        if not resumed:
            raise
        state.unlink(missing_ok=True)
        (work.scratch / STATE).unlink(missing_ok=True)
        result = run()
    state.unlink(missing_ok=True)
    return result
