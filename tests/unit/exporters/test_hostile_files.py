"""Files that would run code, or name files elsewhere, are refused, and nothing of them runs.

Each is made here. Everything happens in this process, so it is the refusal that is tested and not
the sandbox around it; `control` tests show that the frameworks' own loading does run the code.
"""

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import skops.io
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer
from torch import nn

from slipway.artifacts import digest_file
from slipway.errors import SlipwayError, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.exporters.archives import check_pt2, sniff
from slipway.exporters.programs import is_size
from slipway.protocols import ExportRequest, ExportResult
from slipway.specs import Framework, SourceSpec, TensorSpec
from tests.models import sklearn as sklearn_models
from tests.models.pytorch import Net, save_net

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning"),
]


class Gadget:
    """Unpickling one makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_net(tmp_path_factory.mktemp("program") / "model.pt2")


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "code-ran"


def export_file(path: Path, folder: Path, framework: Framework = "pytorch") -> ExportResult:
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    source = SourceSpec(framework=framework, uri=str(path))
    inputs = {"x": TensorSpec(shape=("batch", 4))}
    return export(ExportRequest(source=source, path=path, inputs=inputs), scratch)


def rewritten(
    source: Path,
    target: Path,
    *,
    change: dict[str, Callable[[bytes], bytes]] | None = None,
    add: dict[str, bytes] | None = None,
) -> Path:
    """A copy of an archive with members changed (by the end of their name) or added."""
    pending = dict(change or {})
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            for ending in [e for e in pending if info.filename.endswith(e)]:
                data = pending.pop(ending)(data)
            new.writestr(info.filename, data)
        for name, data in (add or {}).items():
            new.writestr(name, data)
    assert not pending
    return target


def pickled(marker: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Gadget(marker), buffer)
    return buffer.getvalue()


def with_pickled_weight(data: bytes) -> bytes:
    config = json.loads(data)
    next(iter(config["config"].values()))["use_pickle"] = True
    return json.dumps(config).encode()


def with_size(text: str) -> Callable[[bytes], bytes]:
    """Put an expression into the place of the first symbolic size."""

    def change(data: bytes) -> bytes:
        program = json.loads(data)
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0]["as_expr"]["expr_str"] = text
        return json.dumps(program).encode()

    return change


def call(marker: Path) -> str:
    return f"__import__('os').mkdir('{marker}')"


def hostile_programs(program: Path, folder: Path, marker: Path) -> dict[str, Path]:
    """Archives whose loading by torch.export.load alone runs the gadget."""
    gadget = pickled(marker)
    return {
        "sample inputs": rewritten(
            program, folder / "samples.pt2", change={"sample_inputs/model.pt": lambda _: gadget}
        ),
        "a pickled weight": rewritten(
            program,
            folder / "weight.pt2",
            change={
                "model_weights_config.json": with_pickled_weight,
                "weights/weight_0": lambda _: gadget,
            },
        ),
        "legacy weights": rewritten(
            program, folder / "legacy.pt2", add={"model/data/weights/model.pt": gadget}
        ),
        "a symbolic size": rewritten(
            program, folder / "size.pt2", change={"models/model.json": with_size(call(marker))}
        ),
        "a second program": rewritten(
            program,
            folder / "second.pt2",
            add={
                "model/models/zzz.json": zipfile.ZipFile(program).read("model/models/model.json"),
                "model/data/sample_inputs/zzz.pt": gadget,
            },
        ),
    }


HOSTILE = (
    "sample inputs",
    "a pickled weight",
    "legacy weights",
    "a symbolic size",
    "a second program",
)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_program_that_would_run_code_is_refused_and_runs_none(
    kind: str, program: Path, tmp_path: Path, marker: Path
) -> None:
    path = hostile_programs(program, tmp_path, marker)[kind]
    with pytest.raises(UntrustedSource, match=path.name):
        export_file(path, tmp_path)
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "a second program"])
def test_control_loading_such_a_program_does_run_its_code(
    kind: str, program: Path, tmp_path: Path, marker: Path
) -> None:
    path = hostile_programs(program, tmp_path, marker)[kind]
    with contextlib.suppress(Exception):  # whatever torch makes of the rest
        torch.export.load(path)
    assert marker.exists()


@pytest.mark.parametrize(
    "member",
    [
        "model/data/constants/custom_obj_0",
        "model/data/constants/opaque_obj_0",
        "model/data/aotinductor/model/model.so",
        "model/data/constants/model.pt",
        "model/data/weights/WEIGHT_0.pickle",
        "model/surprise.bin",
    ],
)
def test_members_that_no_plain_program_has_are_refused(
    program: Path, tmp_path: Path, member: str
) -> None:
    path = rewritten(program, tmp_path / "m.pt2", add={member: b"\x80\x04N."})
    with pytest.raises(UntrustedSource, match=member):
        export_file(path, tmp_path)


def test_an_input_name_that_would_become_source_is_refused(
    program: Path, tmp_path: Path, marker: Path
) -> None:
    name = f"x=__import__('os').mkdir('{marker}')"

    def change(data: bytes) -> bytes:
        return data.replace(b'"x"', json.dumps(name).encode())

    path = rewritten(program, tmp_path / "m.pt2", change={"models/model.json": change})
    with pytest.raises(UntrustedSource, match="would run as code"):
        export_file(path, tmp_path)
    assert not marker.exists()


def test_guards_of_a_program_are_never_executed(
    program: Path, tmp_path: Path, marker: Path
) -> None:
    def change(data: bytes) -> bytes:
        parsed = json.loads(data)
        parsed["guards_code"] = [f"{call(marker)} is None"]
        return json.dumps(parsed).encode()

    path = rewritten(program, tmp_path / "m.pt2", change={"models/model.json": change})
    export_file(path, tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "s27",
        "2*s0 + 1",
        "Symbol('s26', positive=True, integer=True)",
        "Mul(Integer(4), Symbol('s26', positive=True, integer=True))",
        "FloorDiv(s0, 2) <= Max(s1, u0)",
    ],
)
def test_arithmetic_on_sizes_is_let_through(text: str) -> None:
    assert is_size(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "exec('1')",
        "().__class__",
        "[x for x in (1,)]",
        "lambda: 0",
        "Symbol('s0').free_symbols",
        "Symbol('a.b()')",
        "S('1')",
        "(s0 := 1)",
        "f'{s0}'",
        "s0[0]",
        "",
        "(" * 5000,
    ],
)
def test_anything_but_arithmetic_is_no_size(text: str) -> None:
    assert not is_size(text)


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "model/../../outside", "model\\..\\outside"]
)
def test_members_outside_the_archive_are_refused(program: Path, tmp_path: Path, name: str) -> None:
    path = rewritten(program, tmp_path / "m.pt2", add={name: b"x"})
    with pytest.raises(UntrustedSource, match="points outside"):
        export_file(path, tmp_path)
    assert not (tmp_path.parent / "outside").exists()


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("name", ["model/archive_format", "model/ARCHIVE_FORMAT"])
def test_a_member_that_is_there_twice_is_refused(program: Path, tmp_path: Path, name: str) -> None:
    path = rewritten(program, tmp_path / "m.pt2", add={name: b"pt2"})
    with pytest.raises(UntrustedSource, match="there twice"):
        export_file(path, tmp_path)


def test_a_decompression_bomb_is_refused_without_being_unpacked(
    program: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(program.read_bytes())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/weights/weight_9", bytes(50 << 20))
    with pytest.raises(UntrustedSource, match="bomb"):
        export_file(path, tmp_path)


def test_an_archive_with_bytes_before_it_is_refused(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("decoy", b"x" * 100)
    path.write_bytes(path.read_bytes() + program.read_bytes())
    with pytest.raises(UnreadableModel, match="does not begin with its archive"):
        export_file(path, tmp_path)


def test_a_program_of_an_older_torch_is_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(UnreadableModel, match="older torch"):
        export_file(path, tmp_path)


def test_an_archive_of_no_model_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(UnreadableModel, match="no model format"):
        export_file(path, tmp_path)


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"config": {"w": 1}}', b'{"config": 3}', b"\xff"])
def test_a_malformed_config_is_unreadable(program: Path, tmp_path: Path, text: bytes) -> None:
    path = rewritten(
        program, tmp_path / "m.pt2", change={"model_weights_config.json": lambda _: text}
    )
    with pytest.raises(UnreadableModel, match="malformed"):
        check_pt2(path)


def test_a_sound_program_is_let_through(program: Path, tmp_path: Path) -> None:
    assert export_file(rewritten(program, tmp_path / "m.pt2"), tmp_path).opset == 18


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickled_state_dict_with_code_in_it_is_refused(
    tmp_path: Path, marker: Path, protocol: int
) -> None:
    path = tmp_path / "model.pt"
    torch.save({"weight": Gadget(marker)}, path, pickle_protocol=protocol)
    with pytest.raises(UntrustedSource, match=r"runs code when loaded.*trusted: true and sha256"):
        export_file(path, tmp_path)
    assert not marker.exists()


def test_a_plain_pickle_named_pt_is_refused(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Gadget(marker)))
    with pytest.raises(UntrustedSource, match="runs code when loaded"):
        export_file(path, tmp_path)
    assert not marker.exists()


def test_a_text_pickle_is_refused(tmp_path: Path, marker: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Gadget(marker), protocol=0))
    with pytest.raises(SlipwayError, match=r"model\.pt"):
        export_file(path, tmp_path)
    assert not marker.exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(Net(), path)
    with pytest.raises(UntrustedSource, match=r"torch\.export\.save"):
        export_file(path, tmp_path)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(nn.Linear(4, 3)).save(path)  # type: ignore[no-untyped-call]
    with pytest.raises(UntrustedSource, match="TorchScript"):
        export_file(path, tmp_path)


@pytest.mark.parametrize("compress", [0, ("zlib", 3), ("gzip", 3), ("bz2", 3), ("xz", 3)])
def test_joblib_is_refused_unless_trusted(
    tmp_path: Path, marker: Path, compress: int | tuple[str, int]
) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(Gadget(marker), path, compress=compress)
    with pytest.raises(UntrustedSource, match=r"skops\.io\.dump.*trusted: true and sha256"):
        export_file(path, tmp_path, "sklearn")
    assert not marker.exists()


def test_a_skops_file_with_a_type_nobody_vouched_for_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    skops.io.dump(FunctionTransformer(os.system), path)
    with pytest.raises(UntrustedSource, match=r"not known to be harmless: .*system"):
        export_file(path, tmp_path, "sklearn")


def test_a_skops_file_is_no_pytorch_model(tmp_path: Path) -> None:
    path = sklearn_models.save(sklearn_models.classifier(), tmp_path).path
    with pytest.raises(UnreadableModel, match="framework: sklearn"):
        export_file(path, tmp_path)


def test_a_program_is_no_sklearn_model(program: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match="pt2 file, not a scikit-learn model"):
        export_file(program, tmp_path, "sklearn")


@pytest.mark.parametrize(
    "header",
    [
        b"{",
        b'{"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1600000000]}}',
        b'{"w": {"dtype": "X9", "shape": [4], "data_offsets": [0, 16]}}',
        b'{"w": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}',
        b'{"w": 1}',
        b"{}" + b" " * 30,
    ],
)
def test_safetensors_with_a_broken_header_is_unreadable(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    (tmp_path / "factory.py").write_text("raise SystemExit('not reached')")
    with pytest.raises(SlipwayError) as caught:
        export_file(path, tmp_path)
    assert isinstance(caught.value, UnreadableModel | UntrustedSource) or "factory" in str(
        caught.value
    )


def trusted_joblib(model: Any, folder: Path, *, sha256: str | None = None) -> ExportRequest:
    path = folder / "model.joblib"
    joblib.dump(model, path)
    digest = sha256 or digest_file(path).removeprefix("sha256:")
    source = SourceSpec(framework="sklearn", uri=str(path), trusted=True, sha256=digest)
    return ExportRequest(source=source, path=path)


def test_joblib_is_exported_when_trusted_by_its_digest(tmp_path: Path) -> None:
    model = LogisticRegression().fit(np.eye(4), [0, 1, 0, 1])
    assert export(trusted_joblib(model, tmp_path), tmp_path).route == "skl2onnx"


def test_bytes_decide_what_a_file_is_and_not_its_name(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(program.read_bytes())
    assert sniff(path) == "pt2"
