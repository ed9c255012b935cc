"""The rollback recipe: an alias goes back to where it pointed before."""

from prefect import flow

from slipway.promotion.records import PromotionReport
from slipway.specs import RollbackRequest
from tasks.pages import publish_promotion
from tasks.promotion import plan_rollback, roll_back


@flow(
    name="rollback",
    flow_run_name="roll back {request.name} {request.alias}",
    persist_result=False,
    result_serializer="json",
)
def rollback(request: RollbackRequest) -> PromotionReport:
    """Move an alias of a registered model back to the version that it pointed at before.

    Args:
        request: Which alias, and who asks.
    """
    report = roll_back(plan_rollback(request))
    publish_promotion(report)
    return report
