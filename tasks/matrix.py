"""The tasks of a matrix: environments prepared, and a regression run in each."""

from slipway.errors import EnvironmentMissing, RequestError
from slipway.reports import ToolchainReport
from slipway.specs import RegressionSpec, ToolchainSpec
from slipway.stages import toolchains
from tasks.policy import stage


@stage(name="try toolchain", run_name="try {name}")
def try_toolchain(name: str, toolchain: ToolchainSpec, request: RegressionSpec) -> ToolchainReport:
    """A regression in one toolchain; one that cannot be made is a failed report."""
    try:
        python = toolchains.prepare_toolchain(toolchain)
    except (EnvironmentMissing, RequestError) as error:
        return ToolchainReport(toolchain=name, passed=False, reason=str(error))
    return toolchains.run_in_toolchain(name, python, request)
