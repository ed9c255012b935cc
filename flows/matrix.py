"""The matrix recipe: the same regression in several toolchains, in one table."""

from prefect import flow
from prefect.client.schemas.objects import State

from slipway.reports import MatrixReport
from slipway.specs import MatrixSpec
from tasks.endings import failed
from tasks.matrix import try_toolchain
from tasks.pages import publish_matrix


@flow(name="matrix", persist_result=False, result_serializer="json")
def matrix(request: MatrixSpec) -> MatrixReport | State[MatrixReport]:
    """Make every promoted model in each toolchain: may the next one be taken?

    Args:
        request: The toolchains (lock files or interpreters), and what to compare.
    """
    tried = [
        try_toolchain(name, toolchain, request.regression)
        for name, toolchain in request.toolchains.items()
    ]
    report = MatrixReport(passed=all(one.passed for one in tried), toolchains=tuple(tried))
    publish_matrix(report)
    if report.passed:
        return report
    unfit = ", ".join(one.toolchain for one in tried if not one.passed)
    return failed(report, f"not fit for every model: {unfit}")
