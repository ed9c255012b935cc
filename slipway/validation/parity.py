"""Whether a model's outputs agree with the golden set, and by how much not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slipway.errors import CheckFailed
from slipway.providers.sessions import Session
from slipway.reports import OutputParity, ParityReport
from slipway.samples.arrays import Arrays
from slipway.samples.golden import GoldenSet
from slipway.specs import Tolerance
from slipway.validation.comparing import Difference, measure, merge_all
from slipway.validation.replay import fit_case

Judgement = Literal["values", "labels"]


@dataclass(frozen=True)
class Rule:
    """What makes an output pass.

    By `values`: every number within `tolerance`. By `labels`: the relative L2 error at most
    `relative_error` and the same largest class score in `label_agreement` of the rows; INT8 is
    judged so, since single values are off by a quantization step by design. Outputs that are labels
    themselves must agree in `label_agreement` of their entries either way.
    """

    tolerance: Tolerance
    label_agreement: float = 0.99
    by: Judgement = "values"
    relative_error: float = 0.1


def compare(
    expected: Arrays, actual: Arrays, tolerance: Tolerance, *, label_agreement: float = 0.99
) -> tuple[OutputParity, ...]:
    """Compare outputs of one run by name; an output that only one side has fails.

    The law: `compare(x, x, any tolerance)` passes with no error, and `smallest_tolerance` is the
    least t for which `Tolerance(rtol=t, atol=t / 10)` passes.
    """
    rule = Rule(tolerance, label_agreement)
    return _judge_all([(expected, actual)], rule)


def check_parity(
    model: Path | Session,
    golden: GoldenSet,
    *,
    tolerance: Tolerance,
    label_agreement: float = 0.99,
    by: Judgement = "values",
    relative_error: float = 0.1,
) -> ParityReport:
    """Replay every golden case and compare each output with the source model's.

    Give a path, or a session that is open already. Outputs are judged as `Rule` says, over all
    cases together. A case that the runtime fails on fails the report: exports that are right at
    the traced shape and break at another exist.

    Raises:
        CheckFailed: when the model does not load.
        DataError: when the golden inputs do not fit the model's.
    """
    session = Session(model) if isinstance(model, Path) else model
    rule = Rule(tolerance, label_agreement, by, relative_error)
    runs = []
    failure = None
    for index, case in enumerate(golden.cases):
        feeds = fit_case(session.inputs, case.inputs)
        try:
            runs.append((case.outputs, session.run(feeds)))
        except CheckFailed as error:
            shapes = ", ".join(f"{name} {list(feed.shape)}" for name, feed in feeds.items())
            failure = f"golden case {index} ({shapes}) does not run: {error}"[:500]
            break
    if failure is None:
        outputs = _judge_all(runs, rule)
    else:
        outputs = tuple(_failed(name, failure) for name in golden.cases[0].outputs)
    return ParityReport(
        passed=all(output.passed for output in outputs),
        judged_by=by,
        tolerance=tolerance,
        relative_l2_limit=relative_error if by == "labels" else None,
        label_agreement=label_agreement,
        outputs=outputs,
        cases=len(golden.cases),
        samples=sum(_rows(case.inputs) for case in golden.cases),
    )


def _rows(inputs: Arrays) -> int:
    first = next(iter(inputs.values()))
    return len(first) if first.ndim else 1


def _judge_all(runs: Sequence[tuple[Arrays, Arrays]], rule: Rule) -> tuple[OutputParity, ...]:
    names = dict.fromkeys(name for expected, _ in runs for name in expected)
    names.update(dict.fromkeys(name for _, actual in runs for name in actual))
    return tuple(_judge_output(name, runs, rule) for name in names)


def _judge_output(name: str, runs: Sequence[tuple[Arrays, Arrays]], rule: Rule) -> OutputParity:
    differences = []
    for case, (expected, actual) in enumerate(runs):
        if name not in actual:
            return _failed(name, f"the model gives no such output; it gives {', '.join(actual)}")
        if name not in expected:
            return _failed(name, f"the source has no such output; it has {', '.join(expected)}")
        differences.append(
            measure(expected[name], actual[name], tolerance=rule.tolerance, case=case)
        )
    return _describe(name, merge_all(differences), rule)


def _failed(name: str, reason: str) -> OutputParity:
    return OutputParity(
        output=name, passed=False, max_abs_error=None, max_rel_error=None, reason=reason
    )


def _describe(name: str, found: Difference, rule: Rule) -> OutputParity:
    reason = _objection(found, rule)
    worst = found.worst
    numbers = not found.labels
    sound = found.fault is None
    return OutputParity(
        output=name,
        passed=reason is None,
        max_abs_error=_finite(found.max_abs) if sound else None,
        max_rel_error=_finite(found.max_rel) if sound and numbers else None,
        worst_index=worst.index if worst else (),
        worst_case=worst.case if worst else 0,
        expected=_shown(worst.expected) if worst else None,
        actual=_shown(worst.actual) if worst else None,
        cosine=found.cosine if numbers and found.count else None,
        relative_l2=found.relative_l2 if numbers and found.count else None,
        label_agreement=found.label_agreement,
        smallest_tolerance=_finite(found.smallest_t) if sound and numbers else None,
        reason=reason,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(value: float | str) -> float | str | None:
    return value if isinstance(value, str) else _finite(value)


def _objection(found: Difference, rule: Rule) -> str | None:
    """Why an output does not pass, as a sentence; None when it does."""
    if found.fault is not None:
        return found.fault
    if not found.count:
        return "no values were compared; the golden set is empty here"
    if found.labels:
        return _labels_objection(found, rule)
    if rule.by == "labels":
        return _distance_objection(found, rule) or _labels_objection(found, rule)
    worst = found.worst
    if worst is not None and not worst.excess <= 0:
        return (
            f"largest excess at {list(worst.index)} of case {worst.case}: {worst.actual:.8g}, the "
            f"source gave {worst.expected:.8g}; allowed is {rule.tolerance.atol:g} + "
            f"{rule.tolerance.rtol:g} of it, {found.smallest_t:.2g} would pass as rtol"
        )
    return None


def _labels_objection(found: Difference, rule: Rule) -> str | None:
    agreement = found.label_agreement
    if agreement is None or agreement >= rule.label_agreement:
        return None
    missed = found.label_rows - found.label_hits
    return (
        f"{missed} of {found.label_rows} labels differ; {rule.label_agreement:.4g} of them "
        f"must agree, {agreement:.4g} do"
    )


def _distance_objection(found: Difference, rule: Rule) -> str | None:
    if found.relative_l2 is not None and found.relative_l2 <= rule.relative_error:
        return None
    size = "not finite" if found.relative_l2 is None else f"{found.relative_l2:.4g}"
    return f"its relative L2 error is {size}, allowed is {rule.relative_error:g}"
