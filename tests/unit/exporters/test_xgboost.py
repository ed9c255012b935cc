"""XGBoost: every objective is right or refused; hostile files never reach its parser."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("xgboost", reason="the extra xgboost is not installed")

import xgboost

from slipway.errors import ExportFailed, SpecError, UnreadableModel, UntrustedSource
from slipway.exporters import export
from slipway.exporters.ubjson import read_ubjson
from slipway.exporters.xgboost_files import read_model
from slipway.protocols import ExportRequest
from slipway.providers.sessions import Session
from slipway.samples.arrays import save_npz
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, TensorSpec, Tolerance
from slipway.validation.checking import check_model
from slipway.validation.parity import check_parity
from tests.models import xgboost as models

Document = dict[str, Any]


def exported(request: ExportRequest, folder: Path) -> Any:
    scratch = folder / "scratch"
    scratch.mkdir()
    return export(request, scratch)


@pytest.mark.filterwarnings("ignore::UserWarning")  # gblinear says which parameters it ignores
@pytest.mark.parametrize("case", models.CASES)
def test_the_graph_repeats_xgboost(case: str, tmp_path: Path) -> None:
    made = exported(models.save(models.CASES[case](), tmp_path), tmp_path)
    assert check_model(made.model).findings == ()
    golden = GoldenSet.load(made.golden)
    report = check_parity(made.model, golden, tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]


def test_answers_stop_at_the_best_iteration(tmp_path: Path) -> None:
    booster = models.early_stopped()
    model = read_model(models.save(booster, tmp_path).path)
    assert model.rounds == booster.best_iteration + 1 == len(model.trees)


def test_only_a_booster_on_its_own_is_warned_of_where_its_answers_stop(tmp_path: Path) -> None:
    booster = models.train()
    booster.set_attr(best_iteration="2")
    made = exported(models.save(booster, tmp_path), tmp_path)
    assert [finding.code for finding in made.findings] == ["best-iteration"]
    booster.set_attr(scikit_learn="{}")
    (tmp_path / "wrapped").mkdir()
    again = exported(models.save(booster, tmp_path), tmp_path / "wrapped")
    assert again.findings == ()


def test_probabilities_are_those_of_the_classifier_class(tmp_path: Path) -> None:
    request = models.save(models.early_stopped(), tmp_path)
    classifier = xgboost.XGBClassifier()
    classifier.load_model(request.path)
    answers = Session(exported(request, tmp_path).model).run({"X": models.numbers()})
    assert np.allclose(
        answers["probabilities"], classifier.predict_proba(models.numbers()), atol=1e-6
    )
    assert np.array_equal(answers["label"], classifier.predict(models.numbers()))


def test_golden_rows_made_up_hold_missing_values_and_reach_several_answers(tmp_path: Path) -> None:
    made = exported(models.save(models.train(), tmp_path), tmp_path)
    case = GoldenSet.load(made.golden).cases[-1]
    assert np.isnan(case.inputs["X"]).any()
    assert len(np.unique(case.outputs["prediction"])) > 5


def test_a_matrix_in_the_data_is_taken_even_where_columns_have_names(tmp_path: Path) -> None:
    save_npz(tmp_path / "data.npz", {"X": models.numbers()})
    request = models.save(models.named(), tmp_path, golden_inputs=tmp_path / "data.npz")
    assert [tensor.name for tensor in exported(request, tmp_path).inputs] == ["X"]


def test_whole_number_columns_are_taken_where_asked_for(tmp_path: Path) -> None:
    names = ("age", "in come", "höhe", "code")
    inputs = {
        name: TensorSpec(dtype="int64" if name == "code" else "float64", shape=("batch", 1))
        for name in names
    }
    made = exported(models.save(models.named(), tmp_path, inputs=inputs), tmp_path)
    assert {tensor.dtype for tensor in made.inputs} == {"int64", "float64"}
    assert check_parity(made.model, GoldenSet.load(made.golden), tolerance=Tolerance()).passed


def test_inputs_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    request = models.save(models.train(), tmp_path, inputs={"rows": TensorSpec(shape=("batch", 5))})
    with pytest.raises(SpecError, match=r"one matrix \[batch, 4\]"):
        exported(request, tmp_path)


def test_ubj_and_json_of_one_model_say_the_same(tmp_path: Path) -> None:
    booster = models.categorical()
    assert read_model(models.save(booster, tmp_path).path) == read_model(
        models.save(booster, tmp_path, form="json").path
    )


def edited(folder: Path, change: Callable[[Document], object]) -> ExportRequest:
    """A model whose JSON was changed by hand."""
    request = models.save(models.train(), folder, form="json")
    document = json.loads(request.path.read_text())
    change(document["learner"])
    request.path.write_text(json.dumps(document))
    return request


def trees(learner: Document) -> list[Document]:
    found: list[Document] = learner["gradient_booster"]["model"]["trees"]
    return found


HOSTILE: dict[str, Callable[[Document], object]] = {
    "a child beyond the tree": lambda it: trees(it)[0]["left_children"].__setitem__(0, 10**6),
    "a cycle": lambda it: trees(it)[1]["right_children"].__setitem__(0, 0),
    "a shared child": lambda it: trees(it)[1]["right_children"].__setitem__(0, 1),
    "a feature beyond the table": lambda it: trees(it)[0]["split_indices"].__setitem__(0, 99),
    "a negative feature": lambda it: trees(it)[0]["split_indices"].__setitem__(0, -1),
    "a short column": lambda it: trees(it)[0]["split_conditions"].pop(),
    "a target that is not there": lambda it: it["gradient_booster"]["model"][
        "tree_info"
    ].__setitem__(0, 7),
    "a best iteration beyond the last": lambda it: it["attributes"].update(best_iteration="99"),
    "no trees at all": lambda it: it["gradient_booster"].pop("model"),
    "a base score of two": lambda it: it["learner_model_param"].update(base_score="[1,2]"),
    "words for numbers": lambda it: trees(it)[0]["left_children"].__setitem__(0, "one"),
    "a million features": lambda it: it["learner_model_param"].update(num_feature="x"),
}


@pytest.mark.parametrize("sample", HOSTILE)
def test_a_hostile_file_is_refused_before_xgboost_reads_it(
    sample: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slipway.exporters.xgboost._load", lambda _: pytest.fail("was loaded"))
    with pytest.raises(UnreadableModel, match=r"model\.json"):
        exported(edited(tmp_path, HOSTILE[sample]), tmp_path)


def test_an_objective_that_is_not_known_is_refused_by_name(tmp_path: Path) -> None:
    request = edited(tmp_path, lambda it: it["objective"].update(name="my:own"))
    with pytest.raises(ExportFailed, match="my:own"):
        exported(request, tmp_path)


def test_a_pickle_is_refused_with_the_way_to_save_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(models.train()))
    request = ExportRequest(source=SourceSpec(framework="xgboost", uri=str(path)), path=path)
    with pytest.raises(UntrustedSource, match="save_model"):
        exported(request, tmp_path)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_ubj_is_refused_or_read_as_a_sound_model(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    request = models.save(models.train(rounds=2), tmp_path)
    data = bytearray(request.path.read_bytes())
    for place in random.integers(0, len(data), 3):
        data[place] = random.integers(0, 256)
    request.path.write_bytes(bytes(data))
    try:
        model = read_model(request.path)
    except (UnreadableModel, UntrustedSource, ExportFailed):
        return
    assert all(tree for tree in model.trees)


@pytest.mark.parametrize(
    "data",
    [
        b"{L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"[$d#L\xff\xff\xff\xff\xff\xff\xff\xff",
        b"[#L\x00\xff\xff\xff\xff\xff\xff\xff",
        b"[" * 5000,
        b"[]]",
        b"q",
        b"",
    ],
)
def test_broken_ubjson_ends_in_a_sentence(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        read_ubjson(data)
