"""What a GPU must do: the CPU's answers in every precision, on the GPU, within its memory.

`make test-gpu` runs these on a machine with an NVIDIA GPU.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slipway.benchmarking.harness import measure
from slipway.errors import CheckFailed, ChildOutOfMemory
from slipway.precisions import convert
from slipway.protocols import AnyPrecisionSpec, BenchmarkRequest, ConvertRequest
from slipway.providers.sessions import Session
from slipway.samples.arrays import Array, save_npz
from slipway.samples.golden import GoldenCase, GoldenSet
from slipway.specs import BenchmarkSpec, Fp16Spec, Fp32Spec, Int8StaticSpec, Precision
from tests import tiny_models

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]

BATCH = 8
OPTIONS: dict[Precision, AnyPrecisionSpec] = {
    "fp32": Fp32Spec(),
    "fp16": Fp16Spec(),
    "int8-static": Int8StaticSpec(target="gpu"),
}
# Relative L2 error against fp32 on the CPU.
WITHIN: dict[Precision, float] = {"fp32": 1e-5, "fp16": 5e-3, "int8-static": 0.1}


@pytest.fixture
def images() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {"image": random.standard_normal((BATCH, 1, 8, 8)).astype(np.float32)}


@pytest.fixture
def fp32(tmp_path: Path) -> Path:
    folder = tmp_path / "fp32"
    folder.mkdir()
    return tiny_models.save(tiny_models.cnn(), folder)


def variant(precision: Precision, fp32: Path, folder: Path) -> Path:
    """The model in a precision, as a release makes it for a GPU."""
    if precision == "fp32":
        return fp32
    random = np.random.default_rng(1)
    data = folder / "calibration.npz"
    save_npz(data, {"image": random.standard_normal((64, 1, 8, 8)).astype(np.float32)})
    request = ConvertRequest(
        precision=precision, model=fp32, options=OPTIONS[precision], calibration=data
    )
    made = convert(request, folder / precision)
    assert made.model is not None, made.reason
    return made.model


def only(answers: dict[str, Array]) -> Array:
    (answer,) = answers.values()
    return answer


def relative_error(answer: Array, reference: Array) -> float:
    return float(np.linalg.norm(answer - reference) / np.linalg.norm(reference))


@pytest.mark.parametrize("precision", OPTIONS)
def test_every_precision_gives_the_cpus_answers(
    precision: Precision, fp32: Path, images: dict[str, Array], tmp_path: Path
) -> None:
    reference = only(Session(fp32).run(images))
    session = Session(variant(precision, fp32, tmp_path), provider="cuda")
    assert relative_error(only(session.run(images)), reference) < WITHIN[precision]


def test_bound_inputs_and_outputs_stay_on_the_device(fp32: Path, images: dict[str, Array]) -> None:
    session = Session(fp32, provider="cuda")
    binding = session._session.io_binding()
    ort = session._ort
    binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(images["image"], "cuda"))
    binding.bind_output(session.output_names[0], "cuda")
    session._session.run_with_iobinding(binding)
    binding.synchronize_outputs()
    (output,) = binding.get_outputs()
    assert output.device_name() == "cuda"
    expected = only(Session(fp32).run(images))
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_query_has_ended_when_it_returns(fp32: Path, images: dict[str, Array]) -> None:
    """Without a wait for the stream a query would be over before the GPU has begun."""
    session = Session(fp32, provider="cuda")
    query = session.bind(images)
    for _ in range(50):
        query()
    again = session.run(images)
    np.testing.assert_allclose(only(again), only(Session(fp32).run(images)), rtol=1e-4, atol=1e-5)


def test_the_benchmark_runs_on_the_gpu_and_proves_it(
    fp32: Path, images: dict[str, Array], tmp_path: Path
) -> None:
    golden = tmp_path / "golden.npz"
    GoldenSet((GoldenCase(images, Session(fp32).run(images)),)).save(golden)
    suite = measure(
        BenchmarkRequest(
            models={"fp32": fp32, "fp16": variant("fp16", fp32, tmp_path)},
            golden=golden,
            provider="cuda",
            options=BenchmarkSpec(providers=("cuda",), queries=64, processes=2),
        ),
        tmp_path,
    )
    assert (suite.status, suite.reason) == ("measured", None)
    assert {row.provider for row in suite.rows} == {"cuda"}
    for placement in suite.placements:
        assert placement.share == 1.0, placement.operators


def test_a_memory_limit_is_kept_and_named(fp32: Path) -> None:
    large = {"image": np.zeros((65536, 1, 8, 8), np.float32)}
    with pytest.raises((ChildOutOfMemory, CheckFailed), match=r"(?i)memory|alloc"):
        Session(fp32, provider="cuda", provider_options={"gpu_mem_limit": str(1 << 20)}).run(large)


def test_a_cuda_graph_replays_the_same_answers_on_new_inputs(
    fp32: Path, images: dict[str, Array]
) -> None:
    session = Session(fp32, provider="cuda", provider_options={"enable_cuda_graph": "1"})
    ort: Any = session._ort
    binding = session._session.io_binding()
    given = ort.OrtValue.ortvalue_from_numpy(images["image"], "cuda")
    expected = only(Session(fp32).run(images))
    answer = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(expected), "cuda")
    binding.bind_ortvalue_input("image", given)
    binding.bind_ortvalue_output(session.output_names[0], answer)
    session._session.run_with_iobinding(binding)  # captures the graph
    for seed in range(3):
        fresh = np.random.default_rng(seed).standard_normal(images["image"].shape)
        feeds = {"image": fresh.astype(np.float32)}
        given.update_inplace(feeds["image"])
        session._session.run_with_iobinding(binding)
        np.testing.assert_allclose(
            answer.numpy(), only(Session(fp32).run(feeds)), rtol=1e-4, atol=1e-5
        )
