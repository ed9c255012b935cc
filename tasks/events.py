"""Events that operators are told of; `deployments/automations.py` says how."""

from typing import Final

from prefect.events import emit_event

REGRESSION_FAILED: Final = "slipway.regression.failed"


def emit_regression_failed(model: str, *, cause: str, report: str) -> None:
    """Say that a registered model no longer is what it was.

    Args:
        model: Its name in the registry.
        cause: What changed, in a sentence.
        report: Where the whole report is.
    """
    emit_event(
        REGRESSION_FAILED,
        resource={
            "prefect.resource.id": f"slipway.model.{model}",
            "prefect.resource.name": model,
        },
        payload={"model": model, "cause": cause, "report": report},
    )
