"""onnxruntime sessions with everything that decides their numbers stated."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from slipway.errors import CheckFailed, ChildOutOfMemory, EnvironmentMissing, RequestError
from slipway.providers import PROVIDERS, allotted_cores
from slipway.providers.hardware import lacks_vnni
from slipway.providers.provider import Asked, Provider
from slipway.providers.recommended import recommended_entries
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.specs import DType, ExecutionMode, Optimization

_LEVELS: Final = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
RECORD_ASSIGNMENT: Final = {"session.record_ep_graph_assignment_info": "1"}
"""Session entry that makes `Session.assignment` answer."""

_DTYPES: Final[dict[str, DType]] = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int16)": "int16",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
    "tensor(string)": "string",
}
_MEMORY_SIGNS: Final = ("allocate memory", "bad_alloc", "out of memory", "BFCArena")


class Session:
    """One loaded model. `inputs` is what it takes; `run` gives all outputs by name.

    Spinning is off: a session that waits burns no core that a neighbour is measured on. A provider
    that does not load is an error here, never a silent run on the CPU. `entries` are what it was
    told: those given, over those that the model's file recommends for this processor.

    Raises:
        CheckFailed: when onnxruntime refuses the model, with its reason.
        EnvironmentMissing: when the provider is not in this onnxruntime, or does not start.
        ChildOutOfMemory: when the model does not fit into the memory that there is.
    """

    def __init__(
        self,
        model: Path,
        *,
        provider: str = "cpu",
        intra_op_threads: int | None = None,
        execution_mode: ExecutionMode = "sequential",
        optimization: Optimization = "all",
        entries: Mapping[str, str] | None = None,
        provider_options: Mapping[str, str] | None = None,
        profile: Path | None = None,
    ) -> None:
        import onnxruntime as ort

        self._provider = _available(provider, ort.get_available_providers())
        options = ort.SessionOptions()
        threads = intra_op_threads or allotted_cores()
        options.intra_op_num_threads = threads
        parallel = execution_mode == "parallel"
        options.inter_op_num_threads = threads if parallel else 1
        if parallel:
            options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
        options.enable_mem_pattern = self._provider.memory_pattern and not parallel
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, _LEVELS[optimization]
        )
        options.enable_cpu_mem_arena = (provider_options or {}).get("use_arena", "1") == "1"
        options.log_severity_level = 3
        quiet = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
        advised = recommended_entries(model) if lacks_vnni() else {}
        self.entries = {**quiet, **advised, **(entries or {})}
        for key, value in self.entries.items():
            options.add_session_config_entry(key, value)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(profile)
        try:
            self._session = ort.InferenceSession(
                str(model),
                options,
                providers=_chain(self._provider, ort.get_available_providers()),
                provider_options=_chain_options(
                    self._provider, ort.get_available_providers(), provider_options or {}
                ),
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise _refused(f"onnxruntime does not load {model.name}", error) from error
        if self._provider.ort_name not in self._session.get_providers():
            raise EnvironmentMissing(
                f"{self._provider.ort_name} is installed and did not start, so that onnxruntime "
                f"took {', '.join(self._session.get_providers())} instead; it needs "
                f"{self._provider.needs}"
            )
        self._ort = ort
        bound = self._provider.device != "cpu"
        self._device_id = int((provider_options or {}).get("device_id", 0)) if bound else 0
        self.inputs = tuple(_describe(value) for value in self._session.get_inputs())
        self.output_names: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            CheckFailed: when the runtime fails on these inputs.
        """
        try:
            values: list[Any] = self._session.run(None, dict(feeds))
        except Exception as error:
            raise _refused("onnxruntime fails to run the model", error) from error
        return dict(zip(self.output_names, values, strict=True))

    def bind(self, feeds: Mapping[str, Array]) -> Callable[[], object]:
        """A query that runs the model on these inputs, with as little of Python as there can be.

        Inputs lie where the provider wants them, and outputs stay where it leaves them: what is
        measured is the model, not copies of its inputs. It runs once before it is handed out, so
        that inputs that do not fit fail here.

        Raises:
            CheckFailed: when the runtime fails on these inputs.
        """
        self.run(feeds)
        if any(tensor.dtype == "string" for tensor in self.inputs):
            run, bound = self._session.run, dict(feeds)
            return lambda: run(None, bound)  # strings cannot be bound
        device, number = self._provider.device, self._device_id
        binding = self._session.io_binding()
        make = self._ort.OrtValue.ortvalue_from_numpy
        values = {name: make(array, device, number) for name, array in feeds.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        for name in self.output_names:
            binding.bind_output(name, device, number)
        run_bound = self._session.run_with_iobinding
        if device == "cpu":
            return lambda: run_bound(binding)

        def query() -> None:
            run_bound(binding)
            binding.synchronize_outputs()

        return query

    def assignment(self) -> dict[str, dict[str, int]] | None:
        """Operators by the provider that they were assigned to, counted.

        None where this onnxruntime does not tell, or the session was not asked to record it.
        """
        if not hasattr(self._session, "get_provider_graph_assignment_info"):
            return None
        found: dict[str, Counter[str]] = {}
        for part in self._session.get_provider_graph_assignment_info():
            counts = found.setdefault(part.ep_name, Counter())
            counts.update(_operator(node.domain, node.op_type) for node in part.get_nodes())
        return {name: dict(sorted(counts.items())) for name, counts in sorted(found.items())}

    def end_profile(self) -> list[dict[str, Any]]:
        """The events of a session that was opened with a profile; it is ended by this."""
        path = Path(self._session.end_profiling())
        events: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return events


def _available(name: str, there: list[str]) -> Provider:
    if name not in PROVIDERS:
        raise RequestError(f"no provider {name!r}; there are {', '.join(PROVIDERS)}")
    provider = PROVIDERS[name]
    if provider.ort_name not in there:
        raise EnvironmentMissing(
            f"this onnxruntime has no {provider.ort_name}; it has {', '.join(there)}. It comes "
            f"with {provider.package} and needs {provider.needs}"
        )
    return provider


def _chain(provider: Provider, there: list[str]) -> list[str]:
    """The provider, what takes the nodes that it leaves, and the CPU."""
    behind = [PROVIDERS[name].ort_name for name in (*provider.behind, "cpu")]
    return list(dict.fromkeys([provider.ort_name, *(n for n in behind if n in there)]))


def _chain_options(
    provider: Provider, there: list[str], options: Mapping[str, str]
) -> list[dict[str, str]]:
    """Those behind it are started as they would be alone, on the same device."""
    told = {provider.ort_name: dict(options)}
    for behind in (PROVIDERS[name] for name in provider.behind):
        same = {key: options[key] for key in ("device_id",) if key in options}
        asked = Asked(precision="", threads=1, cache=Path())
        told[behind.ort_name] = behind.settle(asked, same)
    return [told.get(name, {}) for name in _chain(provider, there)]


def _refused(what: str, error: Exception) -> CheckFailed | ChildOutOfMemory:
    if any(sign in str(error) for sign in _MEMORY_SIGNS):
        return ChildOutOfMemory(f"{what}: {error}")
    return CheckFailed(f"{what}: {error}")


def _operator(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain else name


def _describe(value: Any) -> TensorInfo:  # noqa: ANN401 - onnxruntime ships no types
    if value.type not in _DTYPES:
        raise CheckFailed(f"{value.name} is a {value.type}; only plain tensors can be served")
    shape = tuple(size if isinstance(size, int | str) else None for size in value.shape)
    return TensorInfo(name=value.name, dtype=_DTYPES[value.type], shape=shape)
