"""Numbers written for people: the only place where a figure becomes text.

Sentences are in `summary`. A missing number is a dash; why it is missing is the sentence's job.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from slipway.reports import Estimate
from slipway.specs import Metric

DASH: Final = "\u2013"  # en dash: ranges, and the missing number
MINUS: Final = "\u2212"
TIMES: Final = "\u00d7"

PERCENT_METRICS: Final[frozenset[Metric]] = frozenset({"accuracy", "top5"})
METRIC_NAMES: Final[Mapping[Metric, str]] = {
    "accuracy": "accuracy",
    "f1": "F1",
    "auc": "AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
    "cosine": "cosine similarity",
    "top5": "top-5 accuracy",
}
# LoadGen's early stopping: the fewest queries that a percentile can be estimated from.
QUERIES_NEEDED: Final[Mapping[str, int]] = {"p50": 20, "p95": 130, "p99": 662}

_DIGEST_DIGITS: Final = 12


def is_number(value: float | None) -> bool:
    """Whether there is a finite number to show."""
    return value is not None and math.isfinite(value)


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits, never in powers of ten: 0.412, 12.3, 1,230."""
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    return _minus(f"{rounded:,.{_decimals(rounded, digits)}f}")


def scientific(value: float | None) -> str:
    """An error or a tolerance: two significant digits, powers of ten outside 0.01 to 1,000.

    The powers of ten are written as a spec takes them, `1.2e-5`.
    """
    if value is None or not math.isfinite(value):
        return DASH
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 1000:  # noqa: PLR2004 - the docstring's range
        text = significant(value, 2)
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def milliseconds(value_ms: float | None) -> str:
    """A latency with its unit, three significant digits: `0.412 ms`."""
    return f"{significant(value_ms)} ms" if is_number(value_ms) else DASH


def interval(low: float | None, high: float | None) -> str:
    """A confidence interval, both ends with the lower one's decimals where four digits allow it.

    So an end just above one does not become one: `0.988-1.005`.
    """
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return DASH
    wanted = _decimals(low, 3) if low else 2
    upper = f"{high:,.{min(wanted, _decimals(high, 4))}f}" if high else "0"
    return f"{significant(low)}{DASH}{_minus(upper)}"


def estimate(percentile: Estimate) -> str:
    """A percentile with its interval: `0.412 (0.398-0.431) ms`; a dash where not estimable."""
    if not is_number(percentile.value_ms):
        return DASH
    value = significant(percentile.value_ms)
    bounds = interval(percentile.low_ms, percentile.high_ms)
    return f"{value} ms" if bounds == DASH else f"{value} ({bounds}) ms"


def value(given: float | str | None) -> str:
    """One element of a tensor: a label as it is, a number with the digits that float32 has."""
    if given is None:
        return DASH
    return given if isinstance(given, str) else f"{given:.8g}"


def size(size_bytes: int | None) -> str:
    """Bytes in binary units, three significant digits: `63.4 KiB`."""
    if size_bytes is None:
        return DASH
    if size_bytes < 1024:  # noqa: PLR2004 - bytes in a KiB
        return f"{size_bytes} B"
    scaled = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        scaled /= 1024
        if scaled < 999.5:  # noqa: PLR2004 - what three digits can show
            return f"{significant(scaled)} {unit}"
    return f"{significant(scaled / 1024)} TiB"


def times(factor: float | None) -> str:
    """A factor: `1.8x` with a multiplication sign; two decimals near one, none from ten."""
    if factor is None or not math.isfinite(factor):
        return DASH
    decimals = 2 if factor < 1.5 else 1 if factor < 10 else 0  # noqa: PLR2004 - the docstring
    return f"{factor:,.{decimals}f}{TIMES}"


def percent(share: float | None, *, decimals: int = 1) -> str:
    """A share as percent: `98.7 %`. Only exactly one is `100 %`, so that 0.9999 cannot pose."""
    if share is None or not math.isfinite(share):
        return DASH
    if share in {0, 1}:
        return f"{share:.0%}".replace("%", " %")
    while decimals < 6 and float(f"{share * 100:.{decimals}f}") in {0, 100}:  # noqa: PLR2004
        decimals += 1
    return f"{_minus(f'{share * 100:.{decimals}f}')} %"


def metric_value(name: Metric, value: float | None) -> str:
    """A task metric in its usual unit: percent for accuracies, plain for the others."""
    return percent(value) if name in PERCENT_METRICS else significant(value, 4)


def metric_change(name: Metric, change: float | None) -> str:
    """A signed difference of a metric: percent points for accuracies (`-0.1 points`)."""
    if change is None or not math.isfinite(change):
        return DASH
    if change == 0:
        return "unchanged"
    if name in PERCENT_METRICS:
        return f"{_signed(change * 100, decimals=1)} points"
    sign = MINUS if change < 0 else "+"
    return f"{sign}{scientific(abs(change))}"


def cosine(similarity: float | None) -> str:
    """A cosine similarity with six decimals."""
    if similarity is None or not math.isfinite(similarity):
        return DASH
    return _minus(f"{similarity:.6f}")


def place(case: int, index: Sequence[int]) -> str:
    """Where in the golden set an element is: `case 1 at [0, 3]`."""
    return f"case {case} at [{', '.join(str(i) for i in index)}]" if index else f"case {case}"


def title(words: str) -> str:
    """The words with a capital at the start and the rest untouched."""
    return words[:1].upper() + words[1:]


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: `1 variant`, `3 variants`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def runtime(name: str) -> str:
    """`onnxruntime 1.31.1`; another build than the plain one has its package in its name."""
    return name if name.startswith("onnxruntime") else f"onnxruntime {name}"


def short_digest(digest: str) -> str:
    """The start of a digest, enough to recognise it: `sha256:0123456789ab`."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:_DIGEST_DIGITS]}"


def shape(dimensions: Sequence[int | str | None]) -> str:
    """A tensor's shape: `[batch, 1, 8, 8]`, a question mark where unknown."""
    return f"[{', '.join('?' if d is None else str(d) for d in dimensions)}]"


def _decimals(value: float, digits: int) -> int:
    """How many decimals show so many significant digits of a number that is not zero."""
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return max(0, digits - 1 - exponent)


def _signed(value: float, *, decimals: int) -> str:
    """At least so many decimals, more where the number would vanish."""
    while decimals < 6 and float(f"{value:.{decimals}f}") == 0:  # noqa: PLR2004 - enough for any
        decimals += 1
    return _minus(f"{value:+.{decimals}f}")


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
