"""LightGBM: every objective is right or refused; hostile files never reach its parser."""

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightgbm", reason="the extra lightgbm is not installed")

from slipway.errors import ExportFailed, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.exporters.lightgbm_files import read_model
from slipway.protocols import ExportRequest
from slipway.providers.signature import read_graph
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, TensorSpec, Tolerance
from slipway.validation.checking import check_model
from slipway.validation.parity import check_parity
from tests.models import lightgbm as models


def exported(request: ExportRequest, folder: Path) -> Any:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(request, scratch)


@pytest.mark.parametrize("case", models.CASES)
def test_the_graph_repeats_lightgbm(case: str, tmp_path: Path) -> None:
    made = exported(models.save(models.CASES[case](), tmp_path), tmp_path)
    assert check_model(made.model).findings == ()
    golden = GoldenSet.load(made.golden)
    report = check_parity(made.model, golden, tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


def test_timestamps_are_taken_as_doubles(tmp_path: Path) -> None:
    made = exported(models.save(models.timestamps(), tmp_path), tmp_path)
    assert {tensor.dtype for tensor in made.inputs} == {"float64"}


def test_columns_of_ordinary_size_are_taken_as_floats(tmp_path: Path) -> None:
    made = exported(models.save(models.train(), tmp_path), tmp_path)
    assert {tensor.dtype for tensor in made.inputs} == {"float32"}


def test_doubles_are_taken_where_asked_for(tmp_path: Path) -> None:
    inputs = {"rows": TensorSpec(dtype="float64", shape=("batch", 4))}
    made = exported(models.save(models.train(), tmp_path, inputs=inputs), tmp_path)
    assert {tensor.dtype for tensor in made.inputs} == {"float64"}
    assert check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance()).passed


def test_codes_of_a_tables_categories_are_warned_of(tmp_path: Path) -> None:
    made = exported(models.save(models.table_of_categories(), tmp_path), tmp_path)
    assert [finding.code for finding in made.findings] == ["categories-as-codes"]


def test_sets_of_categories_are_in_the_graph(tmp_path: Path) -> None:
    made = exported(models.save(models.many_categories(), tmp_path), tmp_path)
    (trees,) = [n for n in read_graph(made.model).graph.node if n.name == "trees"]
    (modes,) = [list(a.strings) for a in trees.attribute if a.name == "nodes_modes"]
    assert modes.count(b"BRANCH_EQ") > 100


def edited(folder: Path, pattern: str, replacement: str) -> ExportRequest:
    """A model whose text was changed by hand, at the first place that fits, to the same length."""
    request = models.save(models.CASES["categorical"](), folder)
    text = request.path.read_text()
    changed = re.sub(pattern, replacement, text, count=1, flags=re.MULTILINE)
    assert changed != text
    sizes = re.findall(r"(Tree=\d+\n.*?)(?=Tree=\d+\n|end of trees)", changed, flags=re.DOTALL)
    lengths = " ".join(str(len(block)) for block in sizes)
    if "tree_sizes" not in pattern:
        changed = re.sub(r"^tree_sizes=.*$", f"tree_sizes={lengths}", changed, flags=re.MULTILINE)
    request.path.write_text(changed)
    return request


HOSTILE: dict[str, tuple[str, str]] = {
    "a child beyond the tree": (r"^left_child=-?\d+", "left_child=999"),
    "a leaf beyond the tree": (r"^right_child=-?\d+", "right_child=-999"),
    "a cycle": (r"^left_child=-?\d+", "left_child=0"),
    "a feature beyond the table": (r"^split_feature=\d+", "split_feature=77"),
    "a negative feature": (r"^split_feature=\d+", "split_feature=-1"),
    "a column too short": (r"^threshold=\S+ ", "threshold="),
    "a threshold that is none": (r"^threshold=\S+", "threshold=nan"),
    "more leaves than there are": (r"^num_leaves=\d+", "num_leaves=100000000"),
    "no leaves": (r"^num_leaves=\d+", "num_leaves=0"),
    "an unknown decision": (r"^decision_type=\d+", "decision_type=12"),
    "sets beyond their words": (r"^cat_boundaries=0 \d+", "cat_boundaries=0 9999999"),
    "sizes that are not": (r"^tree_sizes=\d+", "tree_sizes=99999999"),
    "a negative size": (r"^tree_sizes=\d+", "tree_sizes=-5"),
    "too few features": (r"^max_feature_idx=\d+", "max_feature_idx=1"),
    "a field twice": (r"^shrinkage=1$", "shrinkage=1\nshrinkage=1"),
    "an end cut off": (r"^end of parameters\n", ""),
}


@pytest.mark.parametrize("sample", HOSTILE)
def test_a_hostile_file_is_refused_before_lightgbm_reads_it(
    sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.exporters.lightgbm._load", lambda _: pytest.fail("was loaded"))
    with pytest.raises(UnreadableModel, match=r"model\.txt"):
        exported(edited(tmp_path, *HOSTILE[sample]), tmp_path)


def test_an_objective_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="my_own"):
        exported(edited(tmp_path, r"^objective=regression", "objective=my_own"), tmp_path)


def test_a_pickle_is_refused_with_the_way_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"any": 1}))
    request = ExportRequest(source=SourceSpec(framework="lightgbm", uri=str(path)), path=path)
    with pytest.raises(UntrustedSource, match="save_model"):
        exported(request, tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_text_is_refused_or_read_as_a_sound_model(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    request = models.save(models.train(rounds=2), tmp_path)
    data = bytearray(request.path.read_bytes())
    for place in random.integers(0, data.index(b"end of trees"), 2):
        data[place] = random.integers(32, 127)
    request.path.write_bytes(bytes(data))
    try:
        model = read_model(request.path)
    except (UnreadableModel, ExportFailed):
        return
    assert all(tree.nodes for tree in model.trees)
