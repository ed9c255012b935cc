"""Series of measurements in MLflow: a run a series, a step a point, which its page plots."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from slipway.registries.mlflow_run import log_metrics
from slipway.reports import SeriesPoint

if TYPE_CHECKING:
    from mlflow import MlflowClient

SERIES_TAG: Final = "slipway.series"
POINTS_TAG: Final = "slipway.points"
"""How many points a series holds: the next one's step."""


def record(client: "MlflowClient", experiment_id: str, series: str, point: SeriesPoint) -> None:
    """Add a point to a series, whose run is made where there is none."""
    from mlflow.entities import Metric

    run = find_run(client, experiment_id, series)
    if run is None:
        run = client.create_run(experiment_id, run_name=series, tags={SERIES_TAG: series})
        client.set_terminated(run.info.run_id, "FINISHED")
    at_ms = round(point.at_s * 1000)
    step = int(run.data.tags.get(POINTS_TAG, 0))
    metrics = [Metric(name, value, at_ms, step) for name, value in point.measures.items()]
    log_metrics(client, run.info.run_id, metrics)
    client.set_tag(run.info.run_id, POINTS_TAG, str(step + 1))


def find_run(client: "MlflowClient", experiment_id: str, series: str) -> Any:  # noqa: ANN401 - MLflow's entities carry no types
    """The oldest run of a series, or None."""
    found = client.search_runs(
        [experiment_id],
        filter_string=f"tags.`{SERIES_TAG}` = '{series}'",
        order_by=["attributes.start_time ASC"],
        max_results=1,
    )
    return found[0] if found else None


def points(client: "MlflowClient", run: Any) -> tuple[SeriesPoint, ...]:  # noqa: ANN401 - as above
    """What a series' run holds, oldest first."""
    at: defaultdict[int, dict[str, float]] = defaultdict(dict)
    for name in run.data.metrics:
        for metric in client.get_metric_history(run.info.run_id, name):
            at[metric.timestamp][name] = metric.value
    return tuple(SeriesPoint(at_s=ms / 1000, measures=at[ms]) for ms in sorted(at))
