"""`make demo`: train two models on real data and release them with `slipway release`."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = ("digits-cnn", "diabetes-pipeline")


def main() -> None:
    """Train and release each example; stop at the first that fails, with its exit status."""
    for name in EXAMPLES:
        folder = HERE / name
        if not (folder / "out").exists():
            _run([sys.executable, str(folder / "train.py")])
        print(f"\n$ slipway release examples/{name}/release.yaml", flush=True)
        program = Path(sys.executable).with_name("slipway")
        _run([str(program), "release", str(folder / "release.yaml")])


def _run(command: list[str]) -> None:
    ran = subprocess.run(command, check=False)  # noqa: S603 - our own programs
    if ran.returncode:
        sys.exit(ran.returncode)


if __name__ == "__main__":
    main()
