"""Asking people in the Prefect UI: a run that waits, and a form that says what is to be approved.

Open-source Prefect has no users: who approves is what the form is told. Where that must be proven,
put a proxy with single sign-on before the server.
"""

import logging
from typing import Final

from prefect.context import FlowRunContext
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.input import RunInput
from prefect.settings import PREFECT_API_URL
from pydantic import Field

from slipway.promotion.pages import approval_markdown
from slipway.promotion.records import Approval
from slipway.specs import PromotionRequest
from slipway.specs.promoting import Person
from slipway.stages.promoting import Weighed
from tasks.promotion import weigh_version

logger = logging.getLogger(__name__)

WAIT_S: Final = 7 * 86_400
POLL_S: Final = 3


class ApprovalForm(RunInput):
    """What the one who approves fills in."""

    approve: bool = Field(
        default=False, description="On: the alias may move. Off: it stays where it is."
    )
    by: Person = Field(
        description="Who approves or declines: a name or an address that others know, and not the "
        "one who asks."
    )
    comment: str | None = Field(default=None, description="Why; kept where it is declined.")


def weigh_with_approvals(request: PromotionRequest, weighed: Weighed) -> Weighed:
    """Ask people one after the other until the policy has what it wants, or somebody declines.

    What they approve is this bundle in the place of that version by these rules: when the alias
    moves meanwhile, or the policy changes, what was approved no longer counts. The run of a
    deployment ends while it waits, and begins again with the answer; another one keeps its process.
    """
    approvals: tuple[Approval, ...] = ()
    while weighed.wants_approvals and all(answer.approved for answer in approvals):
        if not PREFECT_API_URL.value():
            logger.warning("nobody can be asked: there is no Prefect server (PREFECT_API_URL)")
            return weighed
        approvals = (*approvals, _ask(weighed, number=len(approvals)))
        before = weighed.identity
        weighed = weigh_version(request, approvals=approvals)
        if weighed.identity != before:
            approvals = ()
            weighed = weigh_version(request, approvals=approvals)
    return weighed


def _ask(weighed: Weighed, *, number: int) -> Approval:
    form = ApprovalForm.with_initial_data(
        description=approval_markdown(weighed.record, weighed.policy)
    )
    key = f"approval-{weighed.identity[7:19]}-{number}"
    context = FlowRunContext.get()
    deployed = context is not None and context.flow_run and context.flow_run.deployment_id
    if deployed:
        answer = suspend_flow_run(wait_for_input=form, timeout=WAIT_S, key=key)
    else:
        answer = pause_flow_run(wait_for_input=form, timeout=WAIT_S, poll_interval=POLL_S, key=key)
    return Approval(by=answer.by, approved=answer.approve, comment=answer.comment)
