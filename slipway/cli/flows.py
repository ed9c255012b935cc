"""Starting flows, which lie above the core: imported by name, from the checkout or the image."""

import importlib
import os
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from slipway.errors import EnvironmentMissing, SlipwayError
from slipway.promotion.records import PromotionReport
from slipway.reports import NightlyReport, ReleaseReport
from slipway.specs import PromotionRequest, RegressionSpec, ReleaseSpec, RollbackRequest

Report = TypeVar("Report", bound=BaseModel)

# Quiet, patient defaults for an embedded Prefect; whatever is set already wins.
_EMBEDDED: Final = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def run_release(spec: ReleaseSpec) -> ReleaseReport:
    """Run the release flow here and wait for what it came to.

    Raises:
        EnvironmentMissing: where there is no checkout, or Prefect is not installed.
        SlipwayError: whatever stopped the flow before it had a report.
    """
    return _run("release", spec, returns=ReleaseReport)


def run_regression(request: RegressionSpec) -> NightlyReport:
    """Run the regression flow here and wait; raises as `run_release` does."""
    return _run("regression", request, returns=NightlyReport)


def run_promotion(request: PromotionRequest) -> PromotionReport:
    """Run the promotion flow here and wait; raises as `run_release` does."""
    return _run("promote", request, returns=PromotionReport)


def run_rollback(request: RollbackRequest) -> PromotionReport:
    """Run the rollback flow here and wait; raises as `run_release` does."""
    return _run("rollback", request, returns=PromotionReport)


def _run(name: str, request: BaseModel, *, returns: type[Report]) -> Report:
    """Run the flow of the module of the same name."""
    state = _find(f"flows.{name}", name)(request, return_state=True)
    found = state.result(raise_on_failure=False)
    if isinstance(found, returns):
        return found
    if isinstance(found, SlipwayError):
        raise found
    if isinstance(found, BaseException):
        raise SlipwayError(f"the {name} flow failed: {type(found).__name__}: {found}") from found
    raise SlipwayError(f"the {name} flow ended as {state.name}: {state.message}")


def _find(module: str, name: str) -> Any:  # noqa: ANN401 - a Prefect flow; the core has no Prefect
    for variable, value in _EMBEDDED.items():
        os.environ.setdefault(variable, value)
    if home := os.environ.get("PREFECT_HOME"):
        # Prefect makes this folder, but not the one it lies in, and then its server never starts.
        Path(home).expanduser().mkdir(parents=True, exist_ok=True)
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name in {"flows", "tasks", module}:
            raise EnvironmentMissing(
                "the flows are not here: run this from a checkout of Slipway or in its image; "
                "the wheel alone has export, check, parity, quantize, fp16, benchmark, verify, "
                "selftest and history"
            ) from error
        raise EnvironmentMissing(
            f"flows need {error.name!r}: pip install 'slipway[flows]'"
        ) from error
