"""Starting flows, which lie above the core: imported by name, from the checkout or the image."""

import importlib
import os
from pathlib import Path
from typing import Any, Final, TypeVar

from slipway.artifacts import Value
from slipway.errors import EnvironmentMissing, SlipwayError
from slipway.reports import NightlyReport, ReleaseReport
from slipway.specs import RegressionSpec, ReleaseSpec

Found = TypeVar("Found", bound=Value)

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
    return _run("release", spec, ReleaseReport)


def run_regression(request: RegressionSpec) -> NightlyReport:
    """Run the regression flow here and wait; raises as `run_release` does."""
    return _run("regression", request, NightlyReport)


def _run(name: str, parameter: Value, kind: type[Found]) -> Found:
    """A flow's report; each flow is a module of its own name and takes one value."""
    state = _find(f"flows.{name}", name)(parameter, return_state=True)
    found = state.result(raise_on_failure=False)
    if isinstance(found, kind):
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
                "the wheel alone has export, check, parity, quantize, fp16, benchmark, verify "
                "and selftest"
            ) from error
        raise EnvironmentMissing(
            f"releases need {error.name!r}: pip install 'slipway[flows]'"
        ) from error
