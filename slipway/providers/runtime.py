"""Which onnxruntime and which device drivers are installed, told without loading any of them."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from slipway.errors import EnvironmentMissing

# All of them install the same module; an environment has one.
_PACKAGES: Final = (
    *("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-migraphx"),
    *("onnxruntime-rocm", "onnxruntime-directml", "onnxruntime-qnn"),
)
# What decides a device's numbers beside onnxruntime itself.
_LIBRARIES: Final = (
    *("openvino", "nvidia-cudnn-cu13", "nvidia-cublas", "nvidia-cuda-runtime", "tensorrt"),
    "nvidia-cudnn-cu12",
)
NVIDIA: Final = Path("/proc/driver/nvidia")


def runtime_version() -> str:
    """The installed onnxruntime: `1.31.1`, or with its package, `onnxruntime-gpu 1.31.1`.

    Raises:
        EnvironmentMissing: where there is none.
    """
    found = _versions(_PACKAGES)
    if not found:
        raise EnvironmentMissing("onnxruntime is not installed: pip install onnxruntime")
    return ", ".join(v if name == "onnxruntime" else f"{name} {v}" for name, v in found.items())


def device_fingerprint(nvidia: Path = NVIDIA) -> dict[str, str]:
    """What a latency on this machine's devices depends on: libraries, the driver, the GPUs."""
    found = _versions((*_PACKAGES, *_LIBRARIES))
    driver = _first_line(nvidia / "version")
    if driver:
        found["nvidia driver"] = driver
    for index, about in enumerate(sorted(nvidia.glob("gpus/*/information"))):
        found[f"gpu {index}"] = _first_line(about)
    return found


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _first_line(path: Path) -> str:
    try:
        return " ".join(path.read_text(encoding="utf-8").splitlines()[0].split())
    except (OSError, IndexError):
        return ""
