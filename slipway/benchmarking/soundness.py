"""What must hold before anything is timed: the model runs, repeats itself, and runs where asked."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.benchmarking.arms import Arm
from slipway.errors import CheckFailed
from slipway.providers import PROVIDERS
from slipway.providers.sessions import Session
from slipway.reports import Placement
from slipway.samples.arrays import Array

# Sums in another order differ by this much on a GPU; another answer differs by more.
SAME: Final = 1e-3
_COPIES: Final = ("MemcpyFromHost", "MemcpyToHost")


def prove(
    arms: Sequence[Arm],
    sessions: Mapping[str, Session],
    feeds: Mapping[str, Mapping[str, Array]],
    *,
    scratch: Path,
) -> tuple[Placement, ...]:
    """Run every arm's recording session twice, and say where its nodes ran.

    Raises:
        CheckFailed: when a model does not run, gives NaN, or another answer each time.
    """
    placements = []
    for arm in arms:
        session, given = sessions[arm.label], feeds[arm.label]
        check_repeatable(arm.label, session.run(given), session.run(given))
        placements.append(_place(arm, session, given, scratch))
    return tuple(placements)


def check_repeatable(label: str, first: Mapping[str, Array], second: Mapping[str, Array]) -> None:
    """Refuse answers that are NaN or not the same twice.

    Raises:
        CheckFailed: naming the output, with the way out.
    """
    for name, array in first.items():
        if array.dtype.kind != "f":
            if not np.array_equal(array, second[name]):
                raise _unrepeatable(label, name)
            continue
        values = np.asarray(array, np.float64)
        again = np.asarray(second[name], np.float64)
        if np.isnan(values).any():
            raise CheckFailed(
                f"{label}: output {name} holds NaN for the inputs that it is measured with; give "
                "real ones (data.golden, or --golden), or repair the model: how long it takes to "
                "compute nothing says little"
            )
        scale = np.abs(values[np.isfinite(values)]).max(initial=0.0)
        if values.shape != again.shape or not np.allclose(
            values, again, rtol=SAME, atol=SAME * scale
        ):
            raise _unrepeatable(label, name)


def _unrepeatable(label: str, name: str) -> CheckFailed:
    return CheckFailed(
        f"{label}: output {name} differs between two runs on the same inputs; a model that draws "
        "random numbers or keeps a state has no latency of its own. Export it for inference "
        "(dropout and sampling off), or give the random operators a seed"
    )


def _place(arm: Arm, session: Session, feeds: Mapping[str, Array], scratch: Path) -> Placement:
    """By the runtime's own record; copies, and runtimes without a record, by a profile."""
    asked = PROVIDERS[arm.provider]
    operators = session.assignment()
    copies: int | None = 0
    if asked.name != "cpu" or operators is None:
        profiled = arm.open(profile=scratch / f"profile-{arm.label.replace('/', '-')}")
        profiled.run(feeds)
        ran, copies = read_profile(profiled.end_profile())
        operators = operators or ran
    return Placement(
        precision=arm.label,
        operators=operators,
        share=share_on(asked.ort_name, operators),
        copies=copies,
    )


def read_profile(
    events: Iterable[Mapping[str, Any]],
) -> tuple[dict[str, dict[str, int]], int]:
    """Operators that ran by provider, and the copies between devices, of one profiled query."""
    found: dict[str, Counter[str]] = {}
    copies = 0
    for event in events:
        about = event.get("args", {})
        if event.get("cat") != "Node" or "provider" not in about or "op_name" not in about:
            continue
        if about["op_name"] in _COPIES:
            copies += 1
        elif str(event.get("name", "")).endswith("_kernel_time"):
            found.setdefault(about["provider"], Counter())[about["op_name"]] += 1
    return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}, copies


def share_on(ort_name: str, operators: Mapping[str, Mapping[str, int]]) -> float:
    """The share of nodes on a provider; a model whose nodes were all folded away ran anywhere."""
    total = sum(sum(counts.values()) for counts in operators.values())
    return sum(operators.get(ort_name, {}).values()) / total if total else 1.0


def too_little(placements: Iterable[Placement], *, ort_name: str, least: float) -> str | None:
    """Why a policy of a least share is broken, naming what ran elsewhere; None where it holds."""
    for placed in placements:
        if placed.share < least:
            elsewhere = "; ".join(
                f"{name} ran {', '.join(f'{op} {count}' for op, count in counts.items())}"
                for name, counts in placed.operators.items()
                if name != ort_name
            )
            return (
                f"{placed.share:.0%} of {placed.precision}'s nodes ran on {ort_name}, less than "
                f"the {least:.0%} of benchmark.min_provider_share ({elsewhere})"
            )
    return None
