"""onnxruntime sessions with everything that decides their numbers stated."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from slipway.errors import CheckFailed, EnvironmentMissing, RequestError
from slipway.providers import PROVIDERS, allotted_cores
from slipway.reports import TensorInfo
from slipway.samples.arrays import Array
from slipway.specs import DType

Optimization = Literal["none", "basic", "extended", "all"]

_LEVELS: Final = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}

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


class Session:
    """One loaded model. `inputs` is what it takes; `run` gives all outputs by name.

    Spinning is off: a session that waits burns no core that a neighbour is measured on.

    Raises:
        CheckFailed: when onnxruntime refuses the model, with its reason.
        EnvironmentMissing: when the provider is not in this onnxruntime.
    """

    def __init__(
        self,
        model: Path,
        *,
        provider: str = "cpu",
        intra_op_threads: int | None = None,
        optimization: Optimization = "all",
        entries: Mapping[str, str] | None = None,
    ) -> None:
        import onnxruntime as ort

        if provider not in PROVIDERS:
            raise RequestError(f"no provider {provider!r}; there are {', '.join(PROVIDERS)}")
        if PROVIDERS[provider] not in ort.get_available_providers():
            raise EnvironmentMissing(
                f"this onnxruntime has no {PROVIDERS[provider]}; it has "
                f"{', '.join(ort.get_available_providers())}"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = intra_op_threads or allotted_cores()
        options.inter_op_num_threads = 1
        options.graph_optimization_level = getattr(
            ort.GraphOptimizationLevel, _LEVELS[optimization]
        )
        options.log_severity_level = 3
        for key, value in {"session.intra_op.allow_spinning": "0", **(entries or {})}.items():
            options.add_session_config_entry(key, value)
        try:
            self._session = ort.InferenceSession(
                str(model), options, providers=[PROVIDERS[provider]]
            )
        except Exception as error:  # onnxruntime's exceptions share no base class of their own
            raise CheckFailed(f"onnxruntime does not load {model.name}: {error}") from error
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
            raise CheckFailed(f"onnxruntime fails to run the model: {error}") from error
        return dict(zip(self.output_names, values, strict=True))

    def bind(self, feeds: Mapping[str, Array]) -> Callable[[], object]:
        """A query that runs the model on these inputs, with as little of Python as there can be.

        It runs once before it is handed out, so that inputs that do not fit fail here.

        Raises:
            CheckFailed: when the runtime fails on these inputs.
        """
        self.run(feeds)
        run, bound = self._session.run, dict(feeds)
        return lambda: run(None, bound)


def _describe(value: Any) -> TensorInfo:  # noqa: ANN401 - onnxruntime ships no types
    if value.type not in _DTYPES:
        raise CheckFailed(f"{value.name} is a {value.type}; only plain tensors can be served")
    shape = tuple(size if isinstance(size, int | str) else None for size in value.shape)
    return TensorInfo(name=value.name, dtype=_DTYPES[value.type], shape=shape)
