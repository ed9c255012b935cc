"""The environment of a worker that has one provider, made from its lock file as `make` makes it."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNREACHABLE = ("error sending request", "dns error", "Failed to fetch", "Could not connect")


def make(folder: Path, provider: str) -> Path:
    """Its interpreter; the test is skipped where the packages are not to be had."""
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    lock = ROOT / "infra" / "locks" / f"{provider}.txt"
    _uv("pip", "install", "--quiet", "--python", str(python), "--require-hashes", "-r", str(lock))
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "slipway.pth").write_text(f"{ROOT}\n", encoding="utf-8")  # as an editable install does
    return python


def _uv(*arguments: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if ran.returncode and any(sign in ran.stderr for sign in UNREACHABLE):
        pytest.skip(f"no package index is reachable: {ran.stderr.strip().splitlines()[-1]}")
    assert ran.returncode == 0, ran.stderr
