"""What every exporter must do; a framework is finished when this suite is green.

A subclass gives a really trained model saved in its framework's format, and what is expected of it.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import pytest

from slipway.artifacts import describe_tree, digest_file
from slipway.errors import RequestError, SlipwayError, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.isolation.runner import run_isolated
from slipway.protocols import ExportRequest, ExportResult
from slipway.providers.sessions import Session
from slipway.providers.signature import model_inputs, model_outputs, read_graph
from slipway.samples.golden import GoldenSet
from slipway.specs import Framework, Tolerance
from slipway.validation.parity import check_parity

MAX_IR_VERSION = 10
DAMAGED = ("empty", "random", "text", "zeros", "first half", "folder")


def export_in(folder: Path, request: ExportRequest) -> ExportResult:
    """Export in this process, into a scratch folder of its own."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return export(request, scratch)


class ExporterContract:
    """Inherit; say the framework, a module that it cannot do without, and save a model."""

    framework: ClassVar[Framework]
    module: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    outputs: ClassVar[tuple[str, ...]]
    tolerance: ClassVar[Tolerance] = Tolerance()

    @classmethod
    def make(cls, folder: Path) -> ExportRequest:
        """Train a tiny model, save it in the folder, and ask for its export."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("export")

    @pytest.fixture(scope="class")
    @classmethod
    def asked(cls, folder: Path) -> ExportRequest:
        return cls.make(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def result(cls, asked: ExportRequest, folder: Path) -> ExportResult:
        return export_in(folder, asked)

    @pytest.fixture
    def graph(self, result: ExportResult) -> onnx.ModelProto:
        return read_graph(result.model)

    def test_the_checker_accepts_the_model(self, result: ExportResult) -> None:
        onnx.checker.check_model(str(result.model), full_check=True)

    def test_the_batch_is_dynamic_by_default(self, result: ExportResult) -> None:
        assert {tensor.shape[0] for tensor in (*result.inputs, *result.outputs)} == {"batch"}

    def test_inputs_and_outputs_have_the_names_expected(self, result: ExportResult) -> None:
        assert tuple(tensor.name for tensor in result.inputs) == self.inputs
        assert tuple(tensor.name for tensor in result.outputs) == self.outputs

    def test_the_signature_told_is_the_graphs_own(
        self, result: ExportResult, graph: onnx.ModelProto
    ) -> None:
        assert result.inputs == model_inputs(graph)
        assert result.outputs == model_outputs(graph)

    def test_the_golden_set_holds_several_batch_sizes(self, result: ExportResult) -> None:
        golden = GoldenSet.load(result.golden)
        assert len(set(result.golden_batch_sizes)) == len(golden.cases) >= 2
        for case, size in zip(golden.cases, result.golden_batch_sizes, strict=True):
            assert {len(array) for array in case.inputs.values()} == {size}
            assert tuple(case.outputs) == self.outputs or set(case.outputs) == set(self.outputs)

    def test_onnxruntime_repeats_the_sources_own_outputs(self, result: ExportResult) -> None:
        golden = GoldenSet.load(result.golden)
        report = check_parity(result.model, golden, tolerance=self.tolerance)
        assert report.passed, [output.reason for output in report.outputs]

    def test_golden_inputs_are_not_all_alike(self, result: ExportResult) -> None:
        largest = GoldenSet.load(result.golden).cases[-1]
        assert any(len(np.unique(array, axis=0)) > 1 for array in largest.inputs.values())

    def test_opset_18_is_written_by_default(
        self, asked: ExportRequest, result: ExportResult, graph: onnx.ModelProto
    ) -> None:
        assert asked.opset == result.opset == 18
        assert {e.version for e in graph.opset_import if e.domain in {"", "ai.onnx"}} == {18}

    def test_another_opset_is_written_when_asked_for(
        self, asked: ExportRequest, tmp_path: Path
    ) -> None:
        newer = export_in(tmp_path, asked.model_copy(update={"opset": 21}))
        graph = read_graph(newer.model)
        assert {e.version for e in graph.opset_import if e.domain in {"", "ai.onnx"}} == {21}
        golden = GoldenSet.load(newer.golden)
        assert check_parity(newer.model, golden, tolerance=self.tolerance).passed

    def test_the_ir_version_is_one_that_runtimes_load(self, graph: onnx.ModelProto) -> None:
        assert graph.ir_version <= MAX_IR_VERSION

    def test_nothing_of_the_exporting_machine_is_in_the_file(
        self, result: ExportResult, graph: onnx.ModelProto, folder: Path
    ) -> None:
        data = result.model.read_bytes()
        for place in (folder, Path(sys.prefix), Path(onnx.__file__).parent, Path.home()):
            assert str(place).encode() not in data
        assert not graph.doc_string
        assert not graph.metadata_props
        for node in graph.graph.node:
            assert not node.doc_string
            assert not node.metadata_props

    def test_another_process_writes_the_same_bytes(
        self, asked: ExportRequest, result: ExportResult, tmp_path: Path
    ) -> None:
        scratch = tmp_path / "job" / "scratch"
        scratch.mkdir(parents=True)
        again = run_isolated(
            "slipway.exporters:export",
            asked,
            returns=ExportResult,
            scratch=scratch,
            what="the export",
            reads=[asked.path.parent],
        )
        assert digest_file(again.model) == digest_file(result.model)
        assert digest_file(again.golden) == digest_file(result.golden)

    def test_only_the_scratch_folder_is_written(
        self,
        asked: ExportRequest,
        tmp_path: Path,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
        monkeypatch.chdir(elsewhere)
        before = describe_tree(asked.path.parent).files
        result = export_in(tmp_path, asked)
        assert describe_tree(asked.path.parent).files == before
        assert list(elsewhere.iterdir()) == []
        assert {path.name for path in (tmp_path / "scratch").iterdir()} == {
            result.model.name,
            result.golden.name,
        }

    def test_the_tools_that_decide_the_bytes_are_recorded(self, result: ExportResult) -> None:
        assert result.tools["onnx"] == onnx.__version__
        assert len(result.tools) >= 2
        assert result.route

    def test_outputs_are_called_as_asked(self, asked: ExportRequest, tmp_path: Path) -> None:
        names = tuple(f"answer_{index}" for index in range(len(self.outputs)))
        result = export_in(tmp_path, asked.model_copy(update={"outputs": names}))
        assert tuple(tensor.name for tensor in result.outputs) == names
        golden = GoldenSet.load(result.golden)
        assert check_parity(result.model, golden, tolerance=self.tolerance).passed

    def test_another_number_of_output_names_is_refused(
        self, asked: ExportRequest, tmp_path: Path
    ) -> None:
        names = tuple(f"answer_{index}" for index in range(len(self.outputs) + 1))
        with pytest.raises(RequestError, match=rf"names {len(names)} .*gives {len(self.outputs)}"):
            export_in(tmp_path, asked.model_copy(update={"outputs": names}))

    def test_an_output_called_as_an_input_is_refused(
        self, asked: ExportRequest, tmp_path: Path
    ) -> None:
        names = (self.inputs[0], *(f"answer_{i}" for i in range(1, len(self.outputs))))
        with pytest.raises(RequestError, match=f"'{self.inputs[0]}' names an input"):
            export_in(tmp_path, asked.model_copy(update={"outputs": names}))

    @pytest.mark.parametrize("damage", DAMAGED)
    def test_a_damaged_file_is_refused_by_name(
        self, asked: ExportRequest, tmp_path: Path, damage: str
    ) -> None:
        file = damaged(asked.path, tmp_path / f"damaged{asked.path.suffix}", damage)
        with pytest.raises((UnreadableModel, UntrustedSource), match=file.name):
            export_in(tmp_path, asked.model_copy(update={"path": file}))

    @pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.95, 0.999])
    def test_a_truncated_file_is_refused(
        self, asked: ExportRequest, tmp_path: Path, share: float
    ) -> None:
        data = asked.path.read_bytes()
        file = tmp_path / asked.path.name
        file.write_bytes(data[: int(len(data) * share)])
        with pytest.raises((UnreadableModel, UntrustedSource)):
            export_in(tmp_path, asked.model_copy(update={"path": file}))

    def test_a_missing_file_is_an_error_of_ours(self, asked: ExportRequest, tmp_path: Path) -> None:
        with pytest.raises(SlipwayError, match="absent"):
            export_in(tmp_path, asked.model_copy(update={"path": tmp_path / "absent"}))

    def test_without_the_framework_the_extra_to_install_is_named(
        self, asked: ExportRequest, tmp_path: Path
    ) -> None:
        program = (
            "import sys\n"
            f"sys.modules[{self.module!r}] = None\n"
            "from pathlib import Path\n"
            "from slipway.errors import EnvironmentMissing\n"
            "from slipway.exporters import export\n"
            "from slipway.protocols import ExportRequest\n"
            "try:\n"
            "    export(ExportRequest.model_validate_json(sys.argv[1]), Path(sys.argv[2]))\n"
            "except EnvironmentMissing as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, asked.model_dump_json(), str(tmp_path)],
            check=True,
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        assert self.module in done.stdout
        assert f"pip install 'slipway[{self.framework}]'" in done.stdout

    def test_the_model_runs_at_a_batch_that_no_golden_case_has(self, result: ExportResult) -> None:
        case = GoldenSet.load(result.golden).cases[-1]
        session = Session(result.model)
        feeds = {
            tensor.name: case.inputs[tensor.name][:5].astype(
                object if tensor.dtype == "string" else tensor.dtype
            )
            for tensor in session.inputs
        }
        for name, array in session.run(feeds).items():
            assert len(array) == 5, name


def damaged(source: Path, target: Path, damage: str) -> Path:
    """A file (or folder) that is no model."""
    random = np.random.default_rng(0)
    match damage:
        case "folder":
            target.mkdir()
        case "empty":
            target.write_bytes(b"")
        case "random":
            target.write_bytes(random.bytes(4000))
        case "text":
            target.write_text("name,value\nx,1\n" * 50)
        case "zeros":
            target.write_bytes(bytes(4000))
        case "first half":
            data = source.read_bytes()
            target.write_bytes(data[: len(data) // 2])
        case _:
            raise AssertionError(damage)
    return target
