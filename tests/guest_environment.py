"""A second virtual environment: a few of the installed packages, and none of the others."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

# What an exporter's child imports of ours, with their own needs.
CORE = (
    *("pydantic", "pydantic-core", "typing-extensions", "annotated-types", "typing-inspection"),
    *("PyYAML", "numpy", "onnx", "protobuf", "ml-dtypes"),
)
SKLEARN = (
    *("scikit-learn", "skl2onnx", "skops", "pandas", "scipy", "joblib", "threadpoolctl"),
    *("prettytable", "wcwidth", "packaging", "python-dateutil", "six", "pytz", "tzdata"),
    "narwhals",
)


def make(folder: Path, packages: Iterable[str]) -> Path:
    """The interpreter of a new environment that holds copies of these packages, as installed."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    for package in packages:
        install(site, package)
    return folder / "bin" / "python"


def install(site: Path, package: str) -> None:
    """Copy a package's files by hard links where that is possible, and else by their bytes."""
    try:
        files = distribution(package).files or []
    except ModuleNotFoundError:
        return  # this environment's libraries do without it
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = site / file
        target.parent.mkdir(parents=True, exist_ok=True)
        source = Path(str(file.locate()))
        try:
            os.link(source, target)
        except OSError:
            target.write_bytes(source.read_bytes())
