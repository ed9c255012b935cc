"""Every provider of the table is whole, and says what it needs where it cannot run."""

from pathlib import Path
from typing import get_args

import onnxruntime
import pytest

from slipway.errors import EnvironmentMissing, RequestError, SpecError
from slipway.providers import PROVIDERS, check_options
from slipway.providers.provider import Asked, Options
from slipway.providers.runtime import device_fingerprint, runtime_version
from slipway.providers.sessions import RECORD_ASSIGNMENT, Session, _chain_options
from slipway.specs import OptionValue, ProviderName
from tests import tiny_models


def asked(precision: str = "fp32") -> Asked:
    return Asked(precision=precision, threads=3, cache=Path("/cache"))


def test_the_table_and_the_spec_have_the_same_providers() -> None:
    assert set(PROVIDERS) == set(get_args(ProviderName))


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_is_whole(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.name == name
    assert provider.ort_name.endswith("ExecutionProvider")
    assert provider.package
    assert provider.needs
    assert provider.precisions
    assert set(provider.behind) <= set(PROVIDERS)
    if name != "rocm":  # dropped from onnxruntime after 1.22
        assert provider.ort_name in onnxruntime.get_all_providers()


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-static", "model.onnx"])
def test_a_provider_s_own_options_are_documented_ones_and_plain_strings(
    name: str, precision: str
) -> None:
    provider = PROVIDERS[name]
    settled = provider.settle(asked(precision), {})
    assert settled.keys() <= provider.known_options.keys()
    assert all(isinstance(value, str) for value in settled.values())


def test_an_option_of_the_spec_wins() -> None:
    assert PROVIDERS["cuda"].settle(asked(), {"device_id": 2})["device_id"] == "2"
    assert PROVIDERS["cuda"].settle(asked(), {"use_tf32": True})["use_tf32"] == "1"


def test_a_misspelt_option_names_the_right_one_and_all_others() -> None:
    with pytest.raises(
        SpecError, match=r"provider_options\.cuda\.device_ids.*'device_id'.*use_tf32"
    ):
        PROVIDERS["cuda"].settle(asked(), {"device_ids": 0})


@pytest.mark.parametrize(
    ("provider", "option", "value", "words"),
    [
        ("cuda", "cudnn_conv_algo_search", "FASTEST", "one of EXHAUSTIVE, HEURISTIC, DEFAULT"),
        ("cuda", "gpu_mem_limit", "2 GB", "a whole number from 1 up"),
        ("cuda", "device_id", True, "a whole number from 0 up"),
        ("cuda", "use_tf32", "maybe", "true or false"),
        ("tensorrt", "trt_builder_optimization_level", 9, "a whole number from 0 to 5"),
        ("openvino", "device_type", "TPU", "CPU, NPU, GPU"),
        ("openvino", "device_type", "AUTO", "with a list of them"),
        ("openvino", "num_of_threads", 0, "a whole number from 1 up"),
        ("openvino", "load_config", "config.json", "a JSON object"),
        ("coreml", "ModelFormat", "mlprogram", "one of MLProgram, NeuralNetwork"),
        ("qnn", "htp_performance_mode", "fast", "one of burst"),
        ("xnnpack", "intra_op_num_threads", 1.5, "a whole number"),
    ],
)
def test_a_value_that_onnxruntime_would_not_take_is_refused_in_words(
    provider: ProviderName, option: str, value: OptionValue, words: str
) -> None:
    with pytest.raises(SpecError, match=rf"provider_options\.{provider}\.{option}: .*{words}"):
        check_options({provider: {option: value}})


@pytest.mark.parametrize(
    ("provider", "options", "words"),
    [
        ("openvino", {"precision": "FP16"}, "on the CPU, precision is FP32 or ACCURACY"),
        ("qnn", {"backend_type": "htp", "backend_path": "QnnHtp.dll"}, "exclude each other"),
        ("directml", {"device_id": 0, "device_filter": "npu"}, "device_filter would be ignored"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    provider: ProviderName, options: Options, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        check_options({provider: options})


@pytest.mark.parametrize("said", [True, "true", "True", 1, "1"])
@pytest.mark.parametrize(
    ("provider", "option", "read"),
    [
        ("cuda", "use_tf32", "1"),
        ("coreml", "EnableOnSubgraphs", "1"),
        ("openvino", "disable_dynamic_shapes", "True"),
        ("directml", "disable_metacommands", "True"),
    ],
)
def test_yes_is_written_as_the_provider_reads_it(
    provider: str, option: str, read: str, said: OptionValue
) -> None:
    assert PROVIDERS[provider].settle(asked(), {option: said})[option] == read


def test_options_that_hold_addresses_are_not_for_a_spec() -> None:
    addresses = {"user_compute_stream", "gpu_external_alloc", "trt_onnx_bytestream"}
    for provider in PROVIDERS.values():
        assert not addresses & provider.known_options.keys()


def test_the_cpu_s_arena_is_the_session_s_since_onnxruntime_ignores_the_option(
    tmp_path: Path,
) -> None:
    path = tiny_models.save(tiny_models.mlp(), tmp_path)
    for said, kept in ((True, True), (False, False)):
        session = Session(
            path, provider_options=PROVIDERS["cpu"].settle(asked(), {"use_arena": said})
        )
        assert session._session.get_session_options().enable_cpu_mem_arena is kept


def test_what_is_reported_names_no_folder_of_this_machine() -> None:
    reported = PROVIDERS["tensorrt"].portable(asked("fp16"), {})
    assert "/cache" not in reported.values()
    assert reported["trt_fp16_enable"] == "1"


@pytest.mark.parametrize(
    ("precision", "fp16", "int8"),
    [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8-static", "1", "1")],
)
def test_tensorrt_may_use_low_precision_for_variants_of_it_alone(
    precision: str, fp16: str, int8: str
) -> None:
    settled = PROVIDERS["tensorrt"].settle(asked(precision), {})
    assert (settled["trt_fp16_enable"], settled["trt_int8_enable"]) == (fp16, int8)
    assert settled["trt_engine_cache_enable"] == "1"
    assert settled["trt_engine_cache_path"] == "/cache"


def test_what_tensorrt_leaves_runs_on_the_same_gpu_and_in_float32() -> None:
    there = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    own, behind, cpu = _chain_options(PROVIDERS["tensorrt"], there, {"device_id": "1"})
    assert own == {"device_id": "1"}
    assert (behind["device_id"], behind["use_tf32"]) == ("1", "0")
    assert cpu == {}


def test_fp32_is_not_computed_in_less() -> None:
    assert PROVIDERS["cuda"].settle(asked(), {})["use_tf32"] == "0"
    assert PROVIDERS["openvino"].settle(asked(), {})["precision"] == "FP32"


@pytest.mark.parametrize(
    "name",
    [n for n, p in PROVIDERS.items() if p.ort_name not in onnxruntime.get_available_providers()],
)
def test_a_provider_that_is_not_here_says_what_it_needs(name: str, tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.mlp(), tmp_path)
    with pytest.raises(EnvironmentMissing, match=PROVIDERS[name].ort_name) as found:
        Session(path, provider=name)
    assert PROVIDERS[name].needs in str(found.value)
    assert PROVIDERS[name].package in str(found.value)


def test_an_unknown_provider_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no provider 'npu'; there are cpu, openvino"):
        Session(tiny_models.save(tiny_models.mlp(), tmp_path), provider="npu")


def test_a_session_tells_which_operators_a_provider_was_given(tmp_path: Path) -> None:
    path = tiny_models.save(tiny_models.cnn(), tmp_path)
    session = Session(path, optimization="none", entries=RECORD_ASSIGNMENT)
    assignment = session.assignment()
    assert assignment is not None
    assert assignment["CPUExecutionProvider"]["Conv"] == 2
    assert assignment["CPUExecutionProvider"]["Gemm"] == 1


def test_the_installed_runtime_is_named() -> None:
    assert runtime_version() == onnxruntime.__version__


def test_gpus_and_their_driver_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "version").write_text("NVRM version: NVIDIA  580.65\nGCC version\n")
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text(
        "Model: \t NVIDIA H200\nIRQ: 1\n"
    )
    found = device_fingerprint(tmp_path)
    assert found["nvidia driver"] == "NVRM version: NVIDIA 580.65"
    assert found["gpu 0"] == "Model: NVIDIA H200"
    assert "nvidia driver" not in device_fingerprint(tmp_path / "absent")
