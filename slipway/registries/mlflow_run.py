"""What MLflow shows beside a version: a run, a child run and a logged model for each variant.

The run of the bundle holds parameters, metrics by batch size, data, plots and the report. A
variant's child run and its LoggedModel hold the same numbers under names without the variant's,
so that MLflow's tables and charts put variants side by side. A LoggedModel has no files of its own:
they are the version's, and its tag `load_as` says how they are loaded from there.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from slipway.protocols import Measurement, Registration, VariantRecord
from slipway.registries.mlflow_errors import despite_races
from slipway.registries.mlflow_source import Lineage, find_lineage
from slipway.registries.sqlite import DIGEST_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

_PARAMS_A_BATCH: Final = 100  # MLflow's limits for one log_batch
_METRICS_A_BATCH: Final = 1000
_DATASET_DIGEST: Final = 36  # characters that MLflow has room for

_PARENT: Final = "mlflow.parentRunId"
_NOTE: Final = "mlflow.note.content"
_EXTERNAL: Final = "mlflow.model.isExternal"
_VERSIONS: Final = "mlflow.modelVersions"


class RecordedRun(NamedTuple):
    """A finished run, and how a version's description leads to it."""

    run_id: str
    links: str
    """A line of markdown; its addresses hold wherever MLflow's pages are served from."""


def record_run(
    client: "MlflowClient", experiment_id: str, registration: Registration
) -> RecordedRun:
    """Write everything that was found of a bundle into MLflow, and finish it.

    A failure leaves the runs as failed ones.
    """
    digest = registration.bundle_digest.removeprefix("sha256:")
    lineage = find_lineage(client, registration.source_uri)
    runs: list[str] = []
    try:
        runs.append(
            _start(
                client,
                experiment_id,
                f"{registration.name} {digest[:12]}",
                {
                    DIGEST_TAG: digest,
                    _NOTE: f"Release of {registration.name}, bundle `{digest}`; its versions are "
                    f"[here](#/models/{registration.name}).",
                    **lineage.tags,
                },
            )
        )
        models = [
            _record_variant(client, experiment_id, registration, variant, runs)
            for variant in registration.variants
        ]
        _log(client, runs[0], registration.params, registration.metrics)
        _log_data(client, runs[0], registration, lineage)
        if models:
            client.log_outputs(runs[0], [_output(model_id) for model_id in models])
        _log_files(client, runs[0], registration)
    except BaseException:
        _finish(client, runs, "FAILED", quietly=True)
        raise
    _finish(client, runs, "FINISHED")
    variants = zip(registration.variants, models, strict=True)
    return RecordedRun(
        runs[0],
        " \u00b7 ".join(
            [
                f"[Report, plots and all numbers](#/experiments/{experiment_id}/runs/{runs[0]})",
                *(
                    f"[{variant.name}](#/experiments/{experiment_id}/models/{model_id})"
                    for variant, model_id in variants
                ),
                *lineage.links,
            ]
        ),
    )


def link_models(client: "MlflowClient", run_id: str, name: str, version: int) -> None:
    """Tell the run's logged models which version they are variants of; a second time is fine."""
    for model_id in _logged_models(client.get_run(run_id)):
        model = client.get_logged_model(model_id)
        load_as = f"models:/{name}/{version}/variants/{model.name}"
        if model.tags.get("load_as") != load_as:
            known = json.dumps([{"name": name, "version": version}])
            note = f'`mlflow.onnx.load_model("{load_as}")` loads it.'
            client.set_logged_model_tags(
                model_id, {_VERSIONS: known, _NOTE: note, "load_as": load_as}
            )


def discard_run(client: "MlflowClient", run_id: str) -> None:
    """Delete a run with its logged models and the runs of its variants."""
    run = client.get_run(run_id)
    for model_id in _logged_models(run):
        client.delete_logged_model(model_id)
    inside = f"tags.`{_PARENT}` = '{run_id}'"
    for child in client.search_runs([run.info.experiment_id], inside):
        client.delete_run(child.info.run_id)
    client.delete_run(run_id)


def close_abandoned(client: "MlflowClient", run_id: str, bundle_digest: str) -> None:
    """Mark what killed processes left running on the way to the same bundle as killed.

    Asked for once there is a version, so that whoever is still on that way comes too late, and
    deletes its own.
    """
    from mlflow.exceptions import MlflowException

    run = client.get_run(run_id)
    mine = f"tags.{DIGEST_TAG} = '{bundle_digest.removeprefix('sha256:')}'"
    for other in client.search_runs(
        [run.info.experiment_id], f"{mine} and attributes.status = 'RUNNING'"
    ):
        try:
            client.set_terminated(other.info.run_id, "KILLED")
        except MlflowException:
            if client.get_run(other.info.run_id).info.lifecycle_stage != "deleted":
                raise  # else its maker came too late, and has deleted it meanwhile


def _logged_models(run: Any) -> Iterator[str]:  # noqa: ANN401 - MLflow's entities carry no types
    return (output.model_id for output in run.outputs.model_outputs) if run.outputs else iter(())


def _record_variant(
    client: "MlflowClient",
    experiment_id: str,
    registration: Registration,
    variant: VariantRecord,
    runs: list[str],
) -> str:
    """A child run and a logged model with the variant's parameters and metrics; the model's id."""
    digest = registration.bundle_digest.removeprefix("sha256:")
    tags = {DIGEST_TAG: digest, _PARENT: runs[0]}
    runs.append(_start(client, experiment_id, variant.name, tags))
    model = client.create_logged_model(
        experiment_id,
        name=variant.name,
        source_run_id=runs[-1],
        tags={_EXTERNAL: "true", DIGEST_TAG: digest},
        params=variant.params,
        model_type="onnx",
    )
    client.finalize_logged_model(model.model_id, "READY")
    _log(client, runs[-1], variant.params, variant.metrics, model.model_id)
    client.log_outputs(runs[-1], [_output(model.model_id)])
    return str(model.model_id)


def _start(client: "MlflowClient", experiment_id: str, name: str, tags: Mapping[str, str]) -> str:
    return str(client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id)


def _finish(
    client: "MlflowClient", runs: Iterable[str], status: str, *, quietly: bool = False
) -> None:
    for run_id in runs:
        try:
            client.set_terminated(run_id, status)
        except Exception:
            if not quietly:  # else the first failure is the one to tell
                raise


def _output(model_id: str) -> Any:  # noqa: ANN401 - MLflow's entities carry no types
    from mlflow.entities import LoggedModelOutput

    return LoggedModelOutput(model_id=model_id, step=0)


def _log(
    client: "MlflowClient",
    run_id: str,
    params: Mapping[str, str],
    metrics: Iterable[Measurement],
    model_id: str | None = None,
) -> None:
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    for some in _batches((Param(*item) for item in params.items()), _PARAMS_A_BATCH):
        client.log_batch(run_id, params=some)
    found = (Metric(m.name, m.value, now, m.step, model_id=model_id) for m in metrics)
    log_metrics(client, run_id, found)


def log_metrics(client: "MlflowClient", run_id: str, metrics: "Iterable[Metric]") -> None:
    """Write any number of metrics, in as few requests as MLflow allows."""
    for some in _batches(metrics, _METRICS_A_BATCH):
        client.log_batch(run_id, metrics=some)


def _log_data(
    client: "MlflowClient", run_id: str, registration: Registration, lineage: Lineage
) -> None:
    """The data by digest, and the model that all was made from where MLflow holds it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

    datasets = [
        DatasetInput(
            Dataset(
                name=role,
                digest=digest.removeprefix("sha256:")[:_DATASET_DIGEST],
                source_type="sha256",
                source=json.dumps({"digest": digest}),
            ),
            [InputTag("mlflow.data.context", role)],
        )
        for role, digest in registration.datasets.items()
    ]
    models = [LoggedModelInput(lineage.model_id)] if lineage.model_id else []
    if datasets or models:
        # Another release of the same data may be writing it, too.
        despite_races(
            lambda: client.log_inputs(run_id, datasets=datasets, models=models),
            f"naming the data of {registration.name}",
        )


def _log_files(client: "MlflowClient", run_id: str, registration: Registration) -> None:
    for path in registration.evidence:
        client.log_artifact(run_id, str(path))
    for name, svg in registration.plots.items():
        client.log_text(run_id, svg, f"plots/{name}")


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
