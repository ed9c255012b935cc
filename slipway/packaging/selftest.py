"""Running a bundle's variants on its golden set, as a deployer does before it serves them."""

from collections.abc import Callable
from pathlib import Path

from slipway.errors import IntegrityError, ModelError
from slipway.packaging.manifest import read_manifest
from slipway.packaging.verify import MADE_ELSEWHERE, verify_bundle
from slipway.reports import ReplayedVariant, SelftestReport
from slipway.specs import Precision

Replay = Callable[[Precision, Path, Path], tuple[bool, float | None, str | None]]
"""Runs (precision, model, golden set); answers (passed, largest absolute error, reason).

It is passed in, since judging outputs is validation's work and packaging may not import it.
"""


def selftest_bundle(path: Path, replay: Replay) -> SelftestReport:
    """Verify a bundle, then load and replay each variant; stop at the first that fails.

    The order is the manifest's: fp32 first. A variant after a failed one is not in the report.
    One that was optimized for another machine and repeats its answers here passes with a reason.

    Raises:
        SourceNotFound: when there is no such folder.
        IntegrityError: when a file is not as sealed; then nothing is loaded.
    """
    verified = verify_bundle(path)
    if not verified.passed:
        wrong = [finding.message for finding in verified.findings if finding.level == "error"]
        raise IntegrityError(f"{path} is not as it was sealed: {'; '.join(wrong)}")
    elsewhere = {f.place: f.message for f in verified.findings if f.code == MADE_ELSEWHERE}
    replayed: list[ReplayedVariant] = []
    for variant in read_manifest(path).variants:
        result = _replay(variant.precision, path / variant.model, path, replay)
        if result.passed and variant.precision in elsewhere:
            result = result.model_copy(update={"reason": elsewhere[variant.precision]})
        replayed.append(result)
        if not result.passed:
            break
    return SelftestReport(
        passed=all(variant.passed for variant in replayed), variants=tuple(replayed)
    )


def _replay(precision: Precision, model: Path, bundle: Path, replay: Replay) -> ReplayedVariant:
    try:
        passed, error, reason = replay(precision, model, bundle / "golden" / "golden.npz")
    except ModelError as failure:  # it does not load or run: that is an answer, too
        passed, error, reason = False, None, str(failure)
    return ReplayedVariant(precision=precision, passed=passed, reason=reason, max_abs_error=error)
