"""Which machine this is, as far as it decides how onnxruntime lays out a graph."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from slipway.reports import MadeFor

RUNTIMES: Final = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
CPUINFO: Final = Path("/proc/cpuinfo")

VNNI: Final = frozenset({"avx_vnni", "avx512_vnni"})

# What onnxruntime's kernels and layouts are chosen by; other flags change nothing for it.
FEATURES: Final = frozenset(
    {
        *("sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl"),
        *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
        *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
    }
)


def made_here(provider: str, *, cpuinfo: Path = CPUINFO) -> MadeFor:
    """What a graph that is optimized on this machine is made for."""
    return MadeFor(
        provider=provider,
        onnxruntime=_runtime_version(),
        architecture=platform.machine(),
        features=tuple(sorted(FEATURES & _flags(cpuinfo))),
    )


def lacks_vnni(*, cpuinfo: Path = CPUINFO) -> bool:
    """Whether 8-bit products of unsigned and signed numbers may saturate on this processor."""
    return platform.machine() in {"x86_64", "AMD64"} and not VNNI & _flags(cpuinfo)


def differs(made_for: MadeFor, *, cpuinfo: Path = CPUINFO) -> str | None:
    """How this machine differs from the one that a graph was made for; None where it does not."""
    here = made_here(made_for.provider, cpuinfo=cpuinfo)
    if made_for.onnxruntime != here.onnxruntime:
        return f"onnxruntime {made_for.onnxruntime}, and this is {here.onnxruntime}"
    if made_for.architecture != here.architecture:
        return f"{made_for.architecture} processors, and this is {here.architecture}"
    lacking = sorted(set(made_for.features) - set(here.features))
    if lacking:
        return f"a processor with {', '.join(lacking)}, which this one lacks"
    added = sorted(set(here.features) - set(made_for.features))
    if added:
        return f"a processor without {', '.join(added)}, which this one has"
    return None


def _runtime_version() -> str:
    """Of whichever build is installed; asked of its metadata, since importing it takes long."""
    for name in RUNTIMES:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "absent"


def _flags(cpuinfo: Path) -> set[str]:
    """The first processor's flags; none where the system does not tell them so."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()
