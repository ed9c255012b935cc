"""`slipway doctor`: what this environment has, found by trying it."""

import importlib.util
import socket
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from slipway.artifacts import Value
from slipway.errors import SlipwayError
from slipway.isolation.interpreters import requirements
from slipway.isolation.probes import Action, ProbeAnswer, ProbeRequest
from slipway.isolation.runner import GUEST_PACKAGES, Limits, run_isolated
from slipway.isolation.sandbox import landlock_abi
from slipway.providers.runtime import runtime_version
from slipway.settings import Settings
from slipway.specs import Framework
from slipway.stages.interpreters import configured_frameworks, interpreter_for

_PACKAGES: Final = {
    # package: (module, extra, whether the core cannot do without it)
    "onnx": ("onnx", "", True),
    "onnxruntime": ("onnxruntime", "", True),
    "torch": ("torch", "pytorch", False),
    "scikit-learn": ("sklearn", "sklearn", False),
    "skl2onnx": ("skl2onnx", "sklearn", False),
    "pyarrow": ("pyarrow", "parquet", False),
    "mlflow": ("mlflow", "mlflow", False),
    "prefect": ("prefect", "flows", False),
}


class Examined(Value):
    """One thing looked at."""

    name: str
    ok: bool
    detail: str
    needed: bool = False


class DoctorReport(Value):
    """What was found; passed when nothing that is needed is missing."""

    passed: bool
    findings: tuple[Examined, ...]


def examine() -> DoctorReport:
    """Look at packages, providers, protections and folders."""
    found = (*_packages(), *_interpreters(), _providers(), *_protections(), _home())
    return DoctorReport(
        passed=all(finding.ok for finding in found if finding.needed), findings=found
    )


def _packages() -> list[Examined]:
    found = []
    for package, (module, extra, needed) in _PACKAGES.items():
        ok = importlib.util.find_spec(module) is not None
        detail = _version(package) if ok else f"pip install 'slipway[{extra}]'"
        found.append(Examined(name=package, ok=ok, detail=detail, needed=needed))
    return found


def _version(package: str) -> str:
    # Other builds of onnxruntime are packages of other names.
    return runtime_version() if package == "onnxruntime" else version(package)


def _interpreters() -> list[Examined]:
    """Each environment that a framework was given, and what it has of that framework's extra."""
    try:
        frameworks = configured_frameworks()
    except SlipwayError as error:
        return [Examined(name="interpreters", ok=False, detail=str(error), needed=True)]
    return [_interpreter(framework) for framework in frameworks]


def _interpreter(framework: Framework) -> Examined:
    name = f"python for {framework}"
    try:
        found = interpreter_for(framework)
    except SlipwayError as error:
        return Examined(name=name, ok=False, detail=str(error), needed=True)
    assert found is not None  # noqa: S101 - it is configured
    has = found.versions({*GUEST_PACKAGES, *requirements(framework)})
    words = ", ".join(f"{package} {version}" for package, version in has.items())
    ok = "absent" not in has.values()
    detail = f"{found.path}: Python {found.version}, {words}"
    return Examined(name=name, ok=ok, detail=detail, needed=True)


def _providers() -> Examined:
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    return Examined(
        name="providers",
        ok="CPUExecutionProvider" in providers,
        detail=", ".join(providers),
        needed=True,
    )


def _protections() -> list[Examined]:
    """Each protection is attacked by a real child, and holds when the attack fails."""
    abi = landlock_abi()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as server:
        outside = Path(folder) / "outside"
        secret = Path(folder) / "secret"
        secret.write_text("secret", encoding="ascii")
        address = f"127.0.0.1:{server.getsockname()[1]}"
        attacks: dict[str, tuple[Action, str, str]] = {
            "no writing outside scratch": ("write", str(outside), f"Landlock ABI {abi}"),
            "no reading of other files": ("read", str(secret), f"Landlock ABI {abi}"),
            "no network": ("connect", address, "network namespace or Landlock"),
        }
        found = [
            _protection(Path(folder), name, ProbeRequest(action=action, target=target), means)
            for name, (action, target, means) in attacks.items()
        ]
        found.append(_limit(Path(folder)))
    return found


def _protection(folder: Path, name: str, request: ProbeRequest, means: str) -> Examined:
    try:
        held = not _probe(folder, request).done
    except SlipwayError as error:
        return Examined(name=name, ok=False, detail=str(error))
    detail = means if held else "this kernel or container does not allow the protection"
    return Examined(name=name, ok=held, detail=detail)


def _limit(folder: Path) -> Examined:
    request = ProbeRequest(action="allocate", target=str(1 << 30))
    try:
        _probe(folder, request, memory_bytes=256 << 20)
    except SlipwayError:
        return Examined(name="memory limit", ok=True, detail="a child past its limit is stopped")
    return Examined(name="memory limit", ok=False, detail="a child went past its limit")


def _probe(folder: Path, request: ProbeRequest, *, memory_bytes: int | None = None) -> ProbeAnswer:
    scratch = folder / "job" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    return run_isolated(
        "slipway.isolation.probes:attempt",
        request,
        returns=ProbeAnswer,
        scratch=scratch,
        what=f"the {request.action} probe",
        limits=Limits(timeout_s=60, memory_bytes=memory_bytes),
    )


def _home() -> Examined:
    root = Settings().root
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        return Examined(name="home", ok=False, detail=f"{root}: {error}", needed=True)
    return Examined(name="home", ok=True, detail=str(root), needed=True)
