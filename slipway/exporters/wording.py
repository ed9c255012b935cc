"""Frameworks' errors told in a line."""

import re


def first_lines(error: BaseException) -> str:
    """What went wrong in a line, without the colours that torch's exporter writes."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip()
    return f"{type(error).__name__}: {' '.join(plain.splitlines()[:3])[:600]}"
