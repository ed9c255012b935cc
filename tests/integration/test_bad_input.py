"""What bad input gets from the command line, end to end.

Whatever is wrong: the documented exit status, one clear message on stderr and no traceback, with
`--json` one JSON object on stdout, and nothing left behind, half-written or temporary.
"""

import hashlib
import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
import skops.io
import torch
import yaml
from sklearn.linear_model import LogisticRegression

from tests import tiny_models
from tests.models.pytorch import FACTORY, Net

PROGRAM = (sys.executable, "-c", "from slipway.cli import main; main()")
CODES = {
    "SourceNotFound": 2,
    "SpecError": 2,
    "DataError": 2,
    "RequestError": 2,
    "UntrustedSource": 2,
    "UnreadableModel": 1,
    "CheckFailed": 1,
    "ExportFailed": 1,
    "IntegrityError": 1,
    "ChildTimedOut": 1,
    "ChildCrashed": 1,
    "ChildOutOfMemory": 1,
    "EnvironmentMissing": 3,
}


@dataclass(frozen=True)
class Answer:
    """What the program answered, after the promises that hold for every refusal were checked."""

    code: int
    kind: str
    message: str


class Workplace:
    """A folder with inputs, in which the program runs; everything that it leaves is noticed."""

    def __init__(self, root: Path) -> None:
        self.root = root / "work"
        self.temporary = root / "tmp"
        for folder in (self.root, self.temporary):
            folder.mkdir()
        self.environment = {
            **os.environ,
            "SLIPWAY_HOME": str(root / "home"),
            "PREFECT_HOME": str(root / "prefect"),
            "TMPDIR": str(self.temporary),
        }

    def files(self) -> dict[str, bytes]:
        """Every file with its content."""
        return {
            str(path.relative_to(self.root)): path.read_bytes() if path.is_file() else b""
            for path in self.root.rglob("*")
        }

    def start(
        self,
        *arguments: object,
        limit: Callable[[], None] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.root,
            env={**self.environment, **(variables or {})},
            timeout=120,
            preexec_fn=limit,
        )

    def refused(
        self,
        *arguments: object,
        limit: Callable[[], None] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run with --json, and hold the refusal to what is promised of every one."""
        before = self.files()
        done = self.start(*arguments, "--json", limit=limit, variables=variables)
        assert "Traceback" not in done.stderr, done.stderr
        answer = json.loads(done.stdout)
        assert answer["passed"] is False
        kind, message = answer["error"]["type"], answer["error"]["message"]
        assert [line for line in done.stderr.splitlines() if line.startswith("slipway: ")] == [
            f"slipway: {message}".splitlines()[0]
        ]
        assert done.stderr == f"slipway: {message}\n"
        assert done.returncode == CODES[kind], (done.returncode, kind, message)
        assert self.files() == before
        assert list(self.temporary.iterdir()) == []
        return Answer(done.returncode, kind, message)

    def spec(self, **changes: Any) -> Path:
        """A spec of a PyTorch release, with changes."""
        raw = {
            "name": "m",
            "source": {"framework": "pytorch", "uri": "model.pt", "factory": "factory.py:build"},
            "inputs": {"x": {"shape": ["batch", 4]}},
            **changes,
        }
        path = self.root / "release.yaml"
        path.write_text(yaml.safe_dump(raw), encoding="utf-8")
        return path


@pytest.fixture
def work(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    tiny_models.save(tiny_models.mlp(), place.root)
    np.savez(place.root / "good.npz", x=samples())
    return place


@pytest.fixture
def torch_work(tmp_path: Path) -> Workplace:
    place = Workplace(tmp_path)
    torch.save(Net().state_dict(), place.root / "model.pt")
    (place.root / "factory.py").write_text(FACTORY)
    return place


def samples(count: int = 40) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((count, 16)).astype(np.float32)


ON_A_MODEL: dict[str, tuple[str, ...]] = {
    "check": ("check", "{model}"),
    "fp16": ("fp16", "{model}", "--out", "out.onnx"),
    "quantize": ("quantize", "{model}", "--calibration", "good.npz", "--out", "out.onnx"),
    "parity": ("parity", "{model}", "--golden", "good.npz"),
    "benchmark": ("benchmark", "{model}"),
}


def command(name: str, model: str) -> list[str]:
    return [part.format(model=model) for part in ON_A_MODEL[name]]


@pytest.mark.parametrize("name", ON_A_MODEL)
def test_a_missing_model_is_named(work: Workplace, name: str) -> None:
    answer = work.refused(*command(name, "absent.onnx"))
    assert answer == Answer(2, "SourceNotFound", "there is no file at absent.onnx")


@pytest.mark.parametrize("name", ["verify", "selftest"])
@pytest.mark.parametrize("place", ["absent", "good.npz"])
def test_a_missing_bundle_is_named(work: Workplace, name: str, place: str) -> None:
    answer = work.refused(name, place)
    assert (answer.code, answer.message) == (2, f"no bundle at {place}")


def test_a_folder_that_is_no_bundle_fails_with_what_it_lacks(work: Workplace) -> None:
    (work.root / "folder").mkdir()
    assert "manifest.json" in work.refused("selftest", "folder").message
    done = work.start("verify", "folder", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["passed"] is False


@pytest.mark.parametrize("name", ["export", "release"])
def test_a_missing_spec_is_named(work: Workplace, name: str) -> None:
    out = ("--out", "out") if name == "export" else ()
    answer = work.refused(name, "absent.yaml", *out)
    assert (answer.code, answer.message) == (2, "no spec at absent.yaml")


@pytest.mark.parametrize("name", ON_A_MODEL)
@pytest.mark.parametrize("damage", ["empty", "random", "truncated", "folder"])
def test_an_unreadable_model_is_named(work: Workplace, name: str, damage: str) -> None:
    path = work.root / "damaged.onnx"
    match damage:
        case "empty":
            path.write_bytes(b"")
        case "random":
            path.write_bytes(np.random.default_rng(0).bytes(3000))
        case "truncated":
            path.write_bytes((work.root / "model.onnx").read_bytes()[:500])
        case _:
            path.mkdir()
    answer = work.refused(*command(name, path.name))
    assert answer.kind == "UnreadableModel"
    assert path.name in answer.message
    assert answer.message.endswith("?")


DATA: dict[str, tuple[Callable[[Path], object], str]] = {
    "another shape": (lambda p: np.savez(p, x=samples()[:, :5]), "5], the model takes [batch, 16]"),
    "strings": (lambda p: np.savez(p, x=samples().astype(str)), "the model takes float32"),
    "whole numbers of nothing": (lambda p: np.savez(p, x=samples()[:0]), "no samples"),
    "no arrays": (np.savez, "holds no arrays"),
    "another name": (lambda p: np.savez(p, z=samples()), "no array named 'x'; there are z"),
    "NaN": (
        lambda p: np.savez(p, x=np.where(samples() > 2, np.nan, samples())),
        "NaN or infinite, the first at",
    ),
    "infinity": (lambda p: np.savez(p, x=samples() / 0 * np.inf), "NaN or infinite"),
    "truncated": (lambda p: half(p, samples()), "is the file complete?"),
    "a csv file": (lambda p: p.write_text("x,y\n1,2\n"), "neither npz, npy nor parquet"),
    "an empty file": (lambda p: p.write_bytes(b""), "neither npz, npy nor parquet"),
    "pickled objects": (
        lambda p: np.savez(p, x=np.array([{}], dtype=object)),
        "as a pickle, which runs code when loaded",
    ),
    "an empty folder": (lambda p: p.mkdir(), "folder without .npy files"),
    "huge values": (lambda p: np.savez(p, x=np.full((4, 16), 1e300)), "outside float32"),
}


def half(path: Path, array: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    np.savez(path, x=array)
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", DATA)
def test_unusable_calibration_data_is_refused_with_the_reason(work: Workplace, kind: str) -> None:
    make, message = DATA[kind]
    make(work.root / "bad.npz")
    answer = work.refused("quantize", "model.onnx", "--calibration", "bad.npz", "--out", "out.onnx")
    assert answer.kind == "DataError"
    assert message in answer.message


@pytest.mark.parametrize("name", ["quantize", "calibrate", "fp16", "release"])
def test_fewer_samples_than_a_batch_are_refused(work: Workplace, name: str) -> None:
    model = tiny_models.mlp()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 8
    onnx.save(model, work.root / "model.onnx")
    np.savez(work.root / "five.npz", x=samples(5))
    given = ("model.onnx", "--calibration", "five.npz")
    if name == "release":
        source = {"framework": "onnx", "uri": "model.onnx"}
        data = {"golden": "good.npz", "calibration": "five.npz"}
        precisions: dict[str, object] = {"int8-static": {}}
        spec = work.spec(source=source, inputs={}, data=data, precisions=precisions)
        done = work.start("release", spec, "--json")
        assert done.returncode == 2, done.stderr
        answer = json.loads(done.stdout)["error"]
        kind, message = answer["type"], answer["message"]
    else:
        out = ("--state", "s.npz") if name == "calibrate" else ("--out", "out.onnx")
        refused = work.refused(name, *given, *out)
        kind, message = refused.kind, refused.message
    assert kind == "DataError"
    assert "the model takes batches of 8 and there are 5 calibration samples" in message


def test_missing_calibration_data_is_named(work: Workplace) -> None:
    answer = work.refused("quantize", "model.onnx", "--calibration", "no.npz", "--out", "o.onnx")
    assert answer == Answer(2, "SourceNotFound", "there is no file at no.npz")


@pytest.mark.parametrize("kind", ["another shape", "strings", "another name", "a csv file"])
def test_a_golden_set_that_does_not_fit_is_refused(work: Workplace, kind: str) -> None:
    golden = work.root / "bad.npz"
    DATA[kind][0](golden)
    if kind != "a csv file":
        with np.load(golden) as made:
            np.savez(golden, **{**made, "y": np.zeros((40, 4), np.float32)})
    for arguments in (("parity", "model.onnx"), ("benchmark", "model.onnx")):
        assert work.refused(*arguments, "--golden", "bad.npz").kind == "DataError"


def test_a_golden_set_without_outputs_says_what_to_add(work: Workplace) -> None:
    answer = work.refused("parity", "model.onnx", "--golden", "good.npz")
    assert "add the source model's outputs" in answer.message


@pytest.fixture
def too_new(work: Workplace) -> Workplace:
    model = onnx.load(work.root / "model.onnx")
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", 28))
    onnx.save(model, work.root / "new.onnx")
    return work


def test_an_opset_that_onnxruntime_cannot_run_fails_the_check(too_new: Workplace) -> None:
    done = too_new.start("check", "new.onnx", "--json")
    assert done.returncode == 1
    codes = [finding["code"] for finding in json.loads(done.stdout)["findings"]]
    assert "opset-version" in codes


@pytest.mark.parametrize("name", ["parity", "benchmark"])
def test_an_opset_that_onnxruntime_cannot_run_is_told(too_new: Workplace, name: str) -> None:
    answer = too_new.refused(*command(name, "new.onnx"))
    assert answer.kind == "CheckFailed"
    assert "opset 28" in answer.message
    assert "supports 1 to 26" in answer.message


@pytest.mark.parametrize("name", ["export", "release"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opset": 99}, "opset: exporters write opset 11 and later, and the highest"),
        ({"source": {"framework": "caffe", "uri": "m"}}, "source.framework: Input should be"),
        ({"sorce": 1}, "sorce: no such key; did you mean 'source'?"),
        ({"precisions": {"int8-static": {}}}, "int8-static needs calibration data"),
    ],
)
def test_a_wrong_spec_is_refused_before_anything_starts(
    work: Workplace, name: str, changes: dict[str, Any], message: str
) -> None:
    spec = work.spec(**changes)
    out = ("--out", "out") if name == "export" else ()
    answer = work.refused(name, spec, *out)
    assert answer.kind == "SpecError"
    assert message in answer.message
    assert str(spec) in answer.message


@pytest.mark.parametrize("entry", ["source", "factory", "golden", "asset"])
def test_a_file_of_the_spec_that_is_missing_is_told_by_its_entry(
    torch_work: Workplace, entry: str
) -> None:
    changed: dict[str, dict[str, Any]] = {
        "source": {"source": {"framework": "pytorch", "uri": "absent.pt2"}},
        "factory": {
            "source": {"framework": "pytorch", "uri": "model.pt", "factory": "absent.py:build"}
        },
        "golden": {"data": {"golden": "absent.npz"}},
        "asset": {"assets": ["absent.json"]},
    }
    answer = torch_work.refused("export", torch_work.spec(**changed[entry]), "--out", "out")
    assert answer.kind == "SourceNotFound"
    assert "absent" in answer.message
    assert entry in answer.message


def test_bytes_other_than_those_trusted_are_refused(torch_work: Workplace) -> None:
    source = {"framework": "pytorch", "uri": "model.pt", "trusted": True, "sha256": "0" * 64}
    answer = torch_work.refused("export", torch_work.spec(source=source), "--out", "out")
    assert answer.kind == "IntegrityError"
    assert "another file, or was changed" in answer.message


def test_an_untrusted_pickle_is_refused_with_the_ways_out(torch_work: Workplace) -> None:
    torch.save(Net(), torch_work.root / "model.pt")
    answer = torch_work.refused("export", torch_work.spec(), "--out", "out")
    assert answer.kind == "UntrustedSource"
    assert "trusted: true and sha256" in answer.message


def test_an_untrusted_joblib_file_is_refused(work: Workplace) -> None:
    joblib.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), work.root / "model.joblib")
    spec = work.spec(source={"framework": "sklearn", "uri": "model.joblib"}, inputs={})
    answer = work.refused("export", spec, "--out", "out")
    assert answer.kind == "UntrustedSource"
    assert "skops.io.dump" in answer.message


def test_a_trusted_pickle_that_turns_out_hostile_stays_in_its_sandbox(work: Workplace) -> None:
    marker = work.root / "marker"

    class Gadget:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.mkdir, (str(marker),)

    path = work.root / "model.joblib"
    path.write_bytes(pickle.dumps(Gadget()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    source = {
        "framework": "sklearn",
        "uri": "model.joblib",
        "trusted": True,
        "sha256": digest,
    }
    answer = work.refused("export", work.spec(source=source, inputs={}), "--out", "out")
    assert answer.kind == "UnreadableModel"
    assert not marker.exists()


def test_a_truncated_source_is_unreadable(work: Workplace) -> None:
    path = work.root / "model.skops"
    skops.io.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), path)
    path.write_bytes(path.read_bytes()[:-200])
    spec = work.spec(source={"framework": "sklearn", "uri": "model.skops"}, inputs={})
    answer = work.refused("export", spec, "--out", "out")
    assert answer.kind == "UnreadableModel"
    assert "model.skops" in answer.message


FACTORIES = {
    "raises": (
        "def build():\n    raise KeyError('weights')\n",
        {},
        "ExportFailed",
        "factory.py:build raised KeyError",
    ),
    "hangs": (
        "import time\n\n\ndef build():\n    time.sleep(600)\n",
        {"SLIPWAY_TIMEOUT_S": "3"},
        "ChildTimedOut",
        "limit of 3 s and was stopped; raise SLIPWAY_TIMEOUT_S",
    ),
    "crashes": (
        "import ctypes\n\n\ndef build():\n    ctypes.string_at(0)\n",
        {},
        "ChildCrashed",
        "the export of model.pt crashed (SIGSEGV); this process is unharmed",
    ),
    "exits": (
        "import os\n\n\ndef build():\n    os._exit(7)\n",
        {},
        "ChildCrashed",
        "ended with status 7 and no answer",
    ),
    "calls sys.exit": (
        "import sys\n\n\ndef build():\n    sys.exit('enough')\n",
        {},
        "ChildCrashed",
        "no answer",
    ),
    "eats all memory": (
        "def build():\n    held = []\n    while True:\n        held.append(bytearray(64 << 20))\n",
        {"SLIPWAY_MEMORY_LIMIT_BYTES": str(1 << 30)},
        "ChildOutOfMemory",
        "limit of 1.0 GiB",
    ),
}


@pytest.mark.parametrize("kind", FACTORIES)
def test_a_factory_that_misbehaves_is_an_error_of_the_export_alone(
    torch_work: Workplace, kind: str
) -> None:
    code, variables, expected, message = FACTORIES[kind]
    (torch_work.root / "factory.py").write_text(code)
    answer = torch_work.refused("export", torch_work.spec(), "--out", "out", variables=variables)
    assert answer.kind == expected
    assert message in answer.message


def test_a_factory_cannot_write_outside_its_scratch_folder(torch_work: Workplace) -> None:
    marker = torch_work.root / "marker"
    (torch_work.root / "factory.py").write_text(f"def build():\n    open({str(marker)!r}, 'w')\n")
    answer = torch_work.refused("export", torch_work.spec(), "--out", "out")
    assert answer.kind == "ExportFailed"
    assert "PermissionError" in answer.message


def test_an_output_that_exists_is_never_replaced(work: Workplace) -> None:
    answer = work.refused("fp16", "model.onnx", "--out", "good.npz")
    assert answer.kind == "RequestError"
    assert "good.npz exists already" in answer.message


@pytest.mark.parametrize("arguments", [("fp16", "model.onnx", "--out", "good.npz/out.onnx")])
def test_an_output_below_a_file_is_told(work: Workplace, arguments: tuple[str, ...]) -> None:
    answer = work.refused(*arguments)
    assert answer.kind == "EnvironmentMissing"
    assert "good.npz" in answer.message
    assert "choose another folder" in answer.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write in any folder")
def test_a_read_only_output_folder_is_told(work: Workplace) -> None:
    locked = work.root / "locked"
    locked.mkdir(mode=0o500)
    answer = work.refused("fp16", "model.onnx", "--out", "locked/out.onnx")
    assert answer.kind == "EnvironmentMissing"
    assert "permission is denied" in answer.message


def test_an_export_to_a_folder_that_is_a_file_is_told(work: Workplace) -> None:
    path = work.root / "model.skops"
    skops.io.dump(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]), path)
    spec = work.spec(source={"framework": "sklearn", "uri": "model.skops"}, inputs={})
    answer = work.refused("export", spec, "--out", "good.npz")
    assert answer.kind == "EnvironmentMissing"
    assert "good.npz" in answer.message


def no_room() -> None:
    """Every file ends at 1,000 bytes, as on a disk that fills up while it is written."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize("name", ["fp16", "quantize"])
def test_a_full_disk_leaves_nothing_half_written(work: Workplace, name: str) -> None:
    answer = work.refused(*command(name, "model.onnx"), limit=no_room)
    assert answer.kind == "EnvironmentMissing"
    assert "limit on file sizes" in answer.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SLIPWAY_TIMEOUT_S", "soon"), ("SLIPWAY_MEMORY_LIMIT_BYTES", "1GB")],
)
def test_a_wrong_setting_is_named(work: Workplace, variable: str, value: str) -> None:
    answer = work.refused("fp16", "model.onnx", "--out", "out.onnx", variables={variable: value})
    assert answer.kind == "RequestError"
    assert answer.message.startswith(f"{variable}: ")


def test_a_memory_limit_below_what_python_needs_is_told_as_such(work: Workplace) -> None:
    answer = work.refused(
        "fp16",
        "model.onnx",
        "--out",
        "out.onnx",
        variables={"SLIPWAY_MEMORY_LIMIT_BYTES": str(50 << 20)},
    )
    assert answer.kind == "ChildOutOfMemory"


def test_one_model_named_twice_is_refused(work: Workplace) -> None:
    assert "named twice" in work.refused("benchmark", "model.onnx", "model.onnx").message


def test_an_unknown_provider_is_named_with_those_there(work: Workplace) -> None:
    answer = work.refused("benchmark", "model.onnx", "--provider", "tpu")
    assert answer.message.startswith("no provider 'tpu'; there are cpu, openvino, cuda")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fp16", "model.onnx"),
        ("benchmark", "model.onnx", "--batch-size", "0"),
        ("quantize", "model.onnx", "--calibration", "g", "--out", "o", "--method", "guess"),
        ("parity", "model.onnx", "--golden", "g", "--rtol", "-1"),
        ("fly",),
        ("check", "model.onnx", "--jsn"),
    ],
)
def test_a_command_that_is_no_command_of_ours_exits_with_2(
    work: Workplace, arguments: tuple[str, ...]
) -> None:
    done = work.start(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "Error" in done.stderr
