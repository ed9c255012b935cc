"""How a flow ends that came to a report and to no success."""

from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Failed
from pydantic import BaseModel

Report = TypeVar("Report", bound=BaseModel)


def failed(report: Report, why: str | None) -> State[Report]:
    """A failed run, with its report for whoever called the flow in this process.

    Nobody takes what a deployed run returns, and Prefect 3.8 would end it with a `TypeError`, since
    it looks for an exception there; without a report the reason is what it ends with.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    deployed = run is not None and run.deployment_id is not None  # a subflow has none of its own
    return Failed(message=why, data=None if deployed else report)
