"""Running the release flow in this process, and asking the server what happened."""

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.objects import Artifact, State, TaskRun

from flows.release import release
from slipway.reports import ReleaseReport, VariantReport
from slipway.specs import ReleaseSpec

RECORDED_LIMIT_S = 30.0


@dataclass(frozen=True)
class Ran:
    """A flow run that has ended."""

    state: State[Any]

    @property
    def found(self) -> object:
        """Its report, or the exception that ended it."""
        return self.state.result(raise_on_failure=False)

    @property
    def report(self) -> ReleaseReport:
        """Its report; the exception is raised where there is none."""
        if isinstance(self.found, BaseException):
            raise self.found
        assert isinstance(self.found, ReleaseReport)
        return self.found

    @property
    def flow_run_id(self) -> UUID:
        """The run's id on the server."""
        found = self.state.state_details.flow_run_id
        assert found is not None
        return found

    def variant(self, precision: str) -> VariantReport:
        """What is reported of one precision."""
        return next(v for v in self.report.evidence.variants if v.precision == precision)

    def task_runs(self, count: int) -> list[TaskRun]:
        """Its task runs, as soon as the server has recorded that many as ended."""
        deadline = time.monotonic() + RECORDED_LIMIT_S
        while True:
            runs = [
                run
                for run in _all_task_runs(self.flow_run_id)
                if run.state is not None and run.state.is_final()
            ]
            if len(runs) >= count:
                return runs
            assert time.monotonic() < deadline, [run.name for run in runs]
            time.sleep(0.2)

    def worked(self, count: int) -> set[str]:
        """Names of the stages that did their work, not those taken from the cache."""
        return {run.name for run in self.task_runs(count) if run.state_name != "Cached"}

    def artifacts(self) -> list[Artifact]:
        """What it left in the Prefect UI."""
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.flow_run_id]))
        with get_client(sync_client=True) as client:
            return client.read_artifacts(artifact_filter=wanted)


def run(raw: dict[str, Any]) -> Ran:
    """Run the release flow in this process."""
    return Ran(release(ReleaseSpec.model_validate(raw), return_state=True))


def _all_task_runs(flow_run_id: UUID) -> list[TaskRun]:
    with get_client(sync_client=True) as client:
        return client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        )


def changed(raw: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A spec with some sections replaced; a mapping is laid over what was there."""
    new = dict(raw)
    for name, value in sections.items():
        old = new.get(name)
        new[name] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    return new
