"""The promotion recipe: an alias moves to a version whose evidence satisfies the policy."""

from prefect import flow
from prefect.client.schemas.objects import State

from slipway.promotion.records import PromotionReport
from slipway.specs import PromotionRequest
from tasks.approval import weigh_with_approvals
from tasks.endings import failed
from tasks.pages import publish_promotion
from tasks.promotion import move_alias, weigh_version


@flow(
    name="promote",
    flow_run_name="promote {request.name} {request.version} to {request.place}",
    persist_result=False,
    result_serializer="json",
)
def promote(request: PromotionRequest) -> PromotionReport | State[PromotionReport]:
    """Move an alias of a registered model to a version, on evidence, with an audit trail.

    Args:
        request: Which version, which alias, here or in another environment, who asks, and what must
            hold.
    """
    weighed = weigh_version(request, approvals=())
    if weighed.wants_approvals:
        weighed = weigh_with_approvals(request, weighed)
    report = move_alias(weighed)
    publish_promotion(report)
    return report if report.passed else failed(report, report.verdict)
