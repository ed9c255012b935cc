"""From what the spec names to ONNX models: fetch, export, convert."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pydantic import Field

from slipway.artifacts import OCTETS_MEDIA_TYPE, TREE_MEDIA_TYPE, ArtifactRef, Value
from slipway.errors import ChildOutOfMemory, IntegrityError, SourceNotFound
from slipway.exporters import memory_advice
from slipway.protocols import (
    AnyPrecisionSpec,
    ConvertRequest,
    ConvertResult,
    ExportRequest,
    ExportResult,
)
from slipway.reports import ConversionReport, ExportReport
from slipway.specs import Precision, ReleaseSpec, SourceSpec, local_path
from slipway.stages.workspace import Workspace
from slipway.stores.trees import put_tree


class Materials(Value):
    """Everything that a release is made from, in the store."""

    source: ArtifactRef
    factory: ArtifactRef | None = None
    golden: ArtifactRef | None = None
    calibration: ArtifactRef | None = None
    evaluation: ArtifactRef | None = None
    assets: dict[str, ArtifactRef] = Field(default_factory=dict, description="By file name.")

    @property
    def sample_data(self) -> ArtifactRef | None:
        """Data that golden rows may be taken from when the spec gives none of its own."""
        return None if self.golden else self.evaluation or self.calibration

    def calibration_for(self, precision: Precision) -> ArtifactRef | None:
        """Calibration data, for the one precision whose bytes it decides."""
        return self.calibration if precision == "int8-static" else None

    def digests(self) -> dict[str, str]:
        """Digest by role, for the provenance."""
        named = {"golden": self.golden, "calibration": self.calibration}
        named |= {"evaluation": self.evaluation, "factory": self.factory}
        named |= {f"assets/{name}": ref for name, ref in self.assets.items()}
        return {role: ref.digest for role, ref in named.items() if ref is not None}


def fetch_materials(spec: ReleaseSpec, *, workspace: Workspace | None = None) -> Materials:
    """Put the files that the spec names into the store.

    Raises:
        SourceNotFound: naming the entry of the spec and the path.
        IntegrityError: when the source is not the bytes that `sha256` names.
    """
    work = workspace or Workspace()
    source = _ingest(work, spec.source.uri, "source.uri")
    if spec.source.digest is not None and spec.source.digest != source.digest:
        raise IntegrityError(
            f"source.uri: {spec.source.uri} has {source.digest}, the spec says "
            f"{spec.source.digest}; it is another file, or was changed"
        )
    data = spec.data
    factory = factory_file(spec.source)
    return Materials(
        source=source,
        factory=_ingest(work, factory, "source.factory") if factory else None,
        golden=_ingest(work, data.golden, "data.golden") if data.golden else None,
        calibration=_ingest(work, data.calibration, "data.calibration")
        if data.calibration
        else None,
        evaluation=_ingest(work, data.evaluation, "data.evaluation") if data.evaluation else None,
        assets={Path(uri).name: _ingest(work, uri, "assets") for uri in spec.assets},
    )


def factory_file(source: SourceSpec) -> str | None:
    """The factory's file, where it is a file and not an installed module."""
    file = (source.factory or "").rpartition(":")[0]
    return file if file.endswith(".py") else None


def _ingest(work: Workspace, uri: str, entry: str) -> ArtifactRef:
    path = local_path(uri)
    if path.is_dir():
        return put_tree(work.store, path, media_type=TREE_MEDIA_TYPE)
    if not path.is_file():
        raise SourceNotFound(f"{entry}: there is no file at {path}")
    return work.store.put_file(path, media_type=OCTETS_MEDIA_TYPE)


def export_model(
    spec: ReleaseSpec,
    source: ArtifactRef,
    *,
    factory: ArtifactRef | None = None,
    golden: ArtifactRef | None = None,
    sample_data: ArtifactRef | None = None,
) -> ExportReport:
    """Export the source in a child process and store the model with its golden set."""
    with Workspace() as work, _memory_explained(spec.source, source):
        result = work.run(
            "slipway.exporters:export",
            ExportRequest(
                source=spec.source,
                path=work.fetch(source, Path(spec.source.uri).name),
                factory_path=work.fetch_if(factory, "factory.py"),
                inputs=spec.inputs,
                outputs=spec.outputs,
                opset=spec.opset,
                golden_inputs=work.fetch_if(golden, "golden-inputs"),
                sample_data=work.fetch_if(sample_data, "sample-data"),
                labels=spec.data.labels,
            ),
            returns=ExportResult,
            what=f"the export of {Path(spec.source.uri).name}",
            fresh=True,
        )
        return ExportReport(
            model=work.keep_model(result.model),
            golden=work.keep_golden(result.golden),
            framework=spec.source.framework,
            **result.model_dump(exclude={"model", "golden"}),
        )


@contextmanager
def _memory_explained(asked: SourceSpec, source: ArtifactRef) -> Iterator[None]:
    """Say how much the framework's converter is known to need when it ran out of memory."""
    try:
        yield
    except ChildOutOfMemory as error:
        advice = memory_advice(asked.framework, source.size_bytes)
        raise ChildOutOfMemory(f"{error}{advice}") from error


def convert_model(
    spec: ReleaseSpec,
    precision: Precision,
    model: ArtifactRef,
    *,
    calibration: ArtifactRef | None = None,
) -> ConversionReport:
    """Make one precision in a child process and store it."""
    options = cast("AnyPrecisionSpec", spec.precisions.asked()[precision])
    if precision == "fp32":
        return ConversionReport(precision=precision, status="passed", model=model)
    with Workspace() as work:
        result = work.run(
            "slipway.precisions:convert",
            ConvertRequest(
                precision=precision,
                model=work.fetch_model(model, "fp32"),
                options=options,
                calibration=work.fetch_if(calibration, "calibration"),
            ),
            returns=ConvertResult,
            what=f"the conversion to {precision}",
        )
        return ConversionReport(
            precision=precision,
            model=work.keep_model(result.model) if result.model else None,
            **result.model_dump(exclude={"model"}),
        )
