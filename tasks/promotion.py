"""The tasks of a promotion: nothing is cached, since all of it asks how things are now."""

from slipway.promotion.records import Approval, PromotionRecord, PromotionReport
from slipway.specs import PromotionRequest, RollbackRequest
from slipway.stages import promoting
from slipway.stages.promoting import Weighed
from tasks.pages import run_address
from tasks.policy import stage


@stage(name="weigh", run_name="weigh {request.name} version {request.version}")
def weigh_version(request: PromotionRequest, approvals: tuple[Approval, ...]) -> Weighed:
    """The version's evidence against the policy."""
    return promoting.weigh(request, approvals=approvals)


@stage(name="move", run_name="move {weighed.record.name} {weighed.record.alias}")
def move_alias(weighed: Weighed) -> PromotionReport:
    """The copy, where one is asked for; the log's next record, then the alias.

    A retry finds the copy and writes the same record.
    """
    return promoting.move(weighed, run=run_address())


@stage(name="plan rollback", run_name="plan rollback of {request.name} {request.alias}")
def plan_rollback(request: RollbackRequest) -> PromotionRecord:
    """Where the alias goes back to, and that its bundle is whole."""
    return promoting.plan_rollback(request)


@stage(name="roll back", run_name="roll back {record.name} {record.alias}")
def roll_back(record: PromotionRecord) -> PromotionReport:
    """The log's next record, then the alias; a retry writes the same record."""
    return promoting.roll_back(record, run=run_address())
