"""What every precision converter must do; a precision is finished when this suite is green."""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest

from slipway.artifacts import describe_tree, digest_file
from slipway.precisions import convert
from slipway.precisions.relay import STATE
from slipway.protocols import AnyPrecisionSpec, ConvertRequest, ConvertResult
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs, model_outputs, read_graph
from slipway.samples.arrays import Array, save_npz
from slipway.specs import Precision
from tests import tiny_models

MODELS = {"cnn": tiny_models.cnn, "mlp": tiny_models.mlp, "attention": tiny_models.attention}


def inputs_for(model: str, count: int, *, seed: int = 1) -> dict[str, Array]:
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return random.standard_normal((count, *shape)).astype(np.float32)

    if model == "cnn":
        return {"image": normal(1, 8, 8)}
    if model == "mlp":
        return {"x": normal(16)}
    mask = np.ones((count, 6), np.float32)
    mask[:, 4:] = np.arange(count)[:, np.newaxis] % 2
    return {"x": normal(6, 16), "mask": mask}


class PrecisionContract:
    """Inherit, name the precision and its options."""

    precision: ClassVar[Precision]
    options: ClassVar[AnyPrecisionSpec]
    signal_to_noise_db: ClassVar[float]
    same_dtypes: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = tuple(MODELS)
    """Those that the precision applies to."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.models)

    @pytest.fixture
    def source(self, name: str, tmp_path: Path) -> Path:
        folder = tmp_path / "source"
        folder.mkdir()
        return tiny_models.save(MODELS[name](), folder)

    @pytest.fixture
    def request_(self, name: str, source: Path, tmp_path: Path) -> ConvertRequest:
        data = tmp_path / "calibration.npz"
        save_npz(data, inputs_for(name, 50))
        return ConvertRequest(
            precision=self.precision, model=source, options=self.options, calibration=data
        )

    @pytest.fixture
    def result(self, request_: ConvertRequest, tmp_path: Path) -> ConvertResult:
        result = convert(request_, tmp_path / "scratch")
        assert result.status == "passed", result.reason
        return result

    @pytest.fixture
    def converted(self, result: ConvertResult) -> Path:
        assert result.model is not None
        return result.model

    def test_the_checker_accepts_the_result(self, converted: Path) -> None:
        onnx.checker.check_model(str(converted), full_check=True)

    @pytest.mark.parametrize("batch", [1, 3])
    def test_the_result_runs_at_any_batch_size(
        self, converted: Path, name: str, batch: int
    ) -> None:
        session = Session(converted)
        arrays = inputs_for(name, batch)
        outputs = session.run({t.name: arrays[t.name].astype(t.dtype) for t in session.inputs})
        for array in outputs.values():
            assert len(array) == batch
            assert bool(np.isfinite(array).all())

    def test_inputs_and_outputs_keep_their_names_and_shapes(
        self, converted: Path, source: Path
    ) -> None:
        before, after = read_graph(source), read_graph(converted)
        for describe in (model_inputs, model_outputs):
            for old, new in zip(describe(before), describe(after), strict=True):
                assert (new.name, new.shape) == (old.name, old.shape)
                assert (new.dtype == old.dtype) == self.same_dtypes

    def test_the_answers_stay_close(self, converted: Path, source: Path, name: str) -> None:
        arrays = inputs_for(name, 40, seed=2)
        session = Session(converted)
        actual = session.run({t.name: arrays[t.name].astype(t.dtype) for t in session.inputs})
        for output, expected in Session(source).run(arrays).items():
            noise = float(np.linalg.norm(actual[output] - expected))
            signal = float(np.linalg.norm(expected))
            assert noise <= signal * 10 ** (-self.signal_to_noise_db / 20)

    def test_equal_requests_give_equal_bytes_in_any_process(
        self, request_: ConvertRequest, converted: Path, tmp_path: Path
    ) -> None:
        program = (
            "import sys; from pathlib import Path; from slipway.precisions import convert; "
            "from slipway.protocols import ConvertRequest; "
            "request = ConvertRequest.model_validate_json(sys.argv[1]); "
            "print(convert(request, Path(sys.argv[2])).model)"
        )
        again = subprocess.run(
            [sys.executable, "-c", program, request_.model_dump_json(), str(tmp_path / "again")],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "12345"},
        )
        assert digest_file(Path(again.stdout.strip())) == digest_file(converted)

    def test_only_the_scratch_folder_is_written(
        self,
        request_: ConvertRequest,
        tmp_path: Path,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
        before = describe_tree(tmp_path)
        convert(request_, tmp_path / "scratch")
        after = describe_tree(tmp_path).files
        assert tuple(f for f in after if not f.path.startswith("scratch/")) == before.files
        assert list(elsewhere.iterdir()) == []

    def test_a_handed_out_model_stands_alone_in_its_folder(
        self, converted: Path, tmp_path: Path
    ) -> None:
        assert list(converted.parent.iterdir()) == [converted]
        left = {path.name for path in (tmp_path / "scratch").glob("*")}
        assert left <= {"model", STATE}

    def test_the_versions_that_decide_the_bytes_are_recorded(self, result: ConvertResult) -> None:
        assert result.tools["onnxruntime"]
        assert result.tools["onnx"] == onnx.__version__
