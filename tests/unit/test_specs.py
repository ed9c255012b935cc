"""The spec: what it takes, what it says when it does not, and its defaults."""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import SourceNotFound, SpecError
from slipway.specs import (
    FRAMEWORKS,
    MAX_OPSET,
    MIN_OPSET,
    Metric,
    ReleaseSpec,
    is_close_or_better,
    load_spec,
    local_path,
)

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*/release.yaml"))
SMALLEST: dict[str, Any] = {"name": "m", "source": {"framework": "pytorch", "uri": "model.pt2"}}
FULL = """
name: digits
source:
  framework: pytorch
  uri: out/weights.safetensors
  factory: model.py:build
  factory_arguments: {width: 8}
inputs:
  image: {dtype: float32, shape: [batch, 1, 8, 8]}
outputs: [logits]
opset: 21
data:
  golden: golden.npz
  calibration: /data/calibration.npz
  evaluation: file:///data/evaluation.npz
  labels: y
metric: f1
metric_output: logits
precisions:
  fp32: {required: true}
  fp16:
  int8-dynamic: {per_channel: false}
  int8-static: {method: percentile, samples: 10, percentile: 99.9}
  fp32-optimized: {fusions: false}
  int4-weights: {block_size: 64}
parity:
  fp32: {rtol: 1.0e-3, atol: 0}
budget: {metric_drop: 0.02}
benchmark: {batch_sizes: [1, 8], queries: 100, slo_p99_ms: 5}
assets: [labels.json]
register: {name: digits, alias: champion}
"""


def spec(**changes: Any) -> ReleaseSpec:
    return ReleaseSpec.from_mapping({**SMALLEST, **changes})


def complaint(**changes: Any) -> str:
    with pytest.raises(SpecError) as caught:
        spec(**changes)
    return str(caught.value)


def written(folder: Path, text: str) -> Path:
    path = folder / "release.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_full_spec_survives_json_and_yaml(tmp_path: Path) -> None:
    loaded = load_spec(written(tmp_path, FULL))
    assert ReleaseSpec.model_validate_json(loaded.model_dump_json()) == loaded
    again = written(tmp_path, yaml.safe_dump(loaded.model_dump(mode="json")))
    assert load_spec(again) == loaded


def test_a_spec_written_with_its_aliases_is_the_same(tmp_path: Path) -> None:
    loaded = load_spec(written(tmp_path, FULL))
    assert "int8-static" in loaded.model_dump()["precisions"]
    assert "register" in loaded.model_dump()
    assert ReleaseSpec.model_validate(loaded.model_dump()) == loaded


DEFAULTS = {
    "opset": 18,
    "metric": None,
    "data.labels": "label",
    "precisions.fp32.required": True,
    "precisions.fp16": None,
    "precisions.int8_dynamic": None,
    "precisions.int8_static": None,
    "parity.fp32.rtol": 1e-4,
    "parity.fp32.atol": 1e-5,
    "parity.fp16.rtol": 1e-2,
    "parity.label_agreement": 0.99,
    "budget.metric_drop": 0.01,
    "benchmark.providers": ("cpu",),
    "benchmark.batch_sizes": (1,),
    "benchmark.queries": None,
    "benchmark.fresh": False,
    "source.trusted": False,
    "assets": (),
    "register_as": None,
}


@pytest.mark.parametrize("place", DEFAULTS)
def test_a_default_is_as_documented(place: str) -> None:
    value: Any = spec()
    for part in place.split("."):
        value = getattr(value, part)
    assert value == DEFAULTS[place]


def test_int8_defaults_are_as_documented() -> None:
    asked = spec(
        data={"calibration": "c.npz"}, precisions={"int8-static": {}, "int8-dynamic": {}}
    ).precisions
    assert asked.int8_static is not None
    assert asked.int8_dynamic is not None
    assert asked.int8_static.method == "mse"
    assert asked.int8_static.samples == 256
    assert asked.int8_static.per_channel
    assert asked.int8_dynamic.per_channel
    assert not asked.int8_static.required


def test_the_alias_of_a_registration_is_challenger() -> None:
    registered = spec(register={"name": "m"}).register_as
    assert registered is not None
    assert registered.alias == "challenger"


def test_an_input_is_float32_by_default() -> None:
    assert spec(inputs={"x": {"shape": ["n"]}}).inputs["x"].dtype == "float32"


def test_every_field_says_what_it_is_for() -> None:
    schema = ReleaseSpec.model_json_schema()
    for name, model in {"ReleaseSpec": schema, **schema["$defs"]}.items():
        for field, described in model["properties"].items():
            # A description that is the described model's own is not written twice.
            own = schema["$defs"].get(described.get("$ref", "").rpartition("/")[2], {})
            assert (described | own).get("description"), f"{name}.{field}"


@pytest.mark.parametrize(
    ("changes", "place", "meant"),
    [
        ({"sourse": {}}, "sourse", "source"),
        ({"source": {**SMALLEST["source"], "factroy": "f"}}, "source.factroy", "factory"),
        ({"data": {"callibration": "c"}}, "data.callibration", "calibration"),
        ({"precisions": {"int8": {}}}, "precisions.int8", "int8-"),
        ({"precisions": {"int8_dynamc": {}}}, "precisions.int8_dynamc", "int8-dynamic"),
        ({"precisions": {"fp16": {"keep_io": True}}}, "precisions.fp16.keep_io", "keep_io_types"),
        ({"parity": {"fp32": {"rtoll": 1}}}, "parity.fp32.rtoll", "rtol"),
        ({"benchmark": {"batchsizes": [1]}}, "benchmark.batchsizes", "batch_sizes"),
        ({"inputs": {"x": {"shap": [1]}}}, "inputs.x.shap", "shape"),
        ({"register": {"name": "m", "allias": "a"}}, "register.allias", "alias"),
        ({"regster": {"name": "m"}}, "regster", "register"),
    ],
)
def test_a_misspelt_key_is_told_its_place_and_the_nearest_one(
    changes: dict[str, Any], place: str, meant: str
) -> None:
    message = complaint(**changes)
    assert f"{place}: no such key; did you mean '{meant}" in message


def test_a_key_like_no_other_gets_no_guess() -> None:
    assert "zzzzzz: no such key" in complaint(zzzzzz=1)
    assert "did you mean" not in complaint(zzzzzz=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"opset": "new"}, "opset: .*valid integer.* \\(got 'new'\\)"),
        ({"name": "../up"}, "name: .*got '../up'"),
        ({"source": {"framework": "caffe", "uri": "m"}}, "source.framework: .*got 'caffe'"),
        ({"source": {"framework": "pytorch"}}, "source.uri: missing"),
        ({"benchmark": {"batch_sizes": [0]}}, "benchmark.batch_sizes.0: .*greater"),
        ({"benchmark": {"batch_sizes": []}}, "benchmark.batch_sizes: .*at least 1"),
        ({"benchmark": {"providers": ["tpu"]}}, "benchmark.providers.0: .*got 'tpu'"),
        ({"parity": {"fp32": {"rtol": -1}}}, "parity.fp32.rtol: .*greater"),
        ({"inputs": {"x": {"shape": [0]}}}, "inputs.x.shape: .*must be positive"),
        ({"inputs": {"x": {"dtype": "float", "shape": [1]}}}, "inputs.x.dtype: .*got 'float'"),
        ({"metric": "accuracy"}, "metric: accuracy needs data.evaluation"),
        ({"metric": "acuracy", "data": {"evaluation": "e"}}, "metric: .*got 'acuracy'"),
        ({"register": {"name": "m", "alias": "v1"}}, "register.alias: .*reserved"),
        ({"register": {"name": "m", "alias": "latest"}}, "register.alias: .*reserved"),
        ({"precisions": 3}, "precisions: .*got 3"),
        ({"outputs": ["a", "a"]}, "outputs: 'a' names an input or another output"),
        ({"outputs": ["x"], "inputs": {"x": {"shape": [1]}}}, "outputs: 'x' names an input"),
        ({"outputs": [""]}, "outputs: an output needs a name"),
    ],
)
def test_a_wrong_value_is_told_its_place(changes: dict[str, Any], expected: str) -> None:
    assert re.search(expected, complaint(**changes)), complaint(**changes)


def test_every_mistake_is_told_at_once() -> None:
    message = complaint(opset="x", nam="y", budget={"metric_drop": -1})
    assert {"opset", "nam", "budget.metric_drop"} <= {
        line.split(":")[0].removeprefix("spec: ").strip()
        for line in message.removeprefix("spec: ").splitlines()
    }


@pytest.mark.parametrize("opset", [MIN_OPSET - 1, MAX_OPSET + 1, 99, 0, -1])
def test_an_opset_that_the_runtime_does_not_run_is_refused_with_the_highest(opset: int) -> None:
    assert f"highest that onnxruntime runs is {MAX_OPSET}" in complaint(opset=opset)


@pytest.mark.parametrize("opset", [MIN_OPSET, 18, MAX_OPSET])
def test_opsets_that_the_runtime_runs_are_taken(opset: int) -> None:
    assert spec(opset=opset).opset == opset


def test_trust_without_a_digest_is_refused() -> None:
    message = complaint(source={**SMALLEST["source"], "trusted": True})
    assert "trusted: true needs sha256" in message
    assert "sha256sum" in message


@pytest.mark.parametrize("digest", ["abc", "g" * 64, "sha256:" + "a" * 64])
def test_a_digest_of_another_form_is_refused(digest: str) -> None:
    assert "source.sha256" in complaint(source={**SMALLEST["source"], "sha256": digest})


def test_the_digest_is_told_in_our_notation() -> None:
    source = spec(source={**SMALLEST["source"], "sha256": "A" * 64}).source
    assert source.digest == "sha256:" + "a" * 64


def test_int8_static_without_calibration_data_is_refused() -> None:
    assert "needs calibration data: set data.calibration" in complaint(
        precisions={"int8-static": {}}
    )


def test_one_file_for_calibration_and_evaluation_is_refused() -> None:
    assert "are the same file" in complaint(data={"calibration": "d.npz", "evaluation": "d.npz"})


def test_one_file_by_two_ways_is_refused_as_well(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        f"name: m\nsource: {{framework: pytorch, uri: m.pt2}}\n"
        f"data: {{calibration: d.npz, evaluation: {tmp_path}/./d.npz}}\n",
    )
    with pytest.raises(SpecError, match="are the same file"):
        load_spec(path)


def test_a_spec_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(SpecError, match="expected a mapping of keys, found list"):
        ReleaseSpec.from_mapping([1])


def test_nothing_behind_a_precision_asks_for_it_in_yaml(tmp_path: Path) -> None:
    text = "name: m\nsource: {framework: pytorch, uri: m.pt2}\nprecisions:\n  fp16:\n"
    assert load_spec(written(tmp_path, text)).precisions.fp16 is not None


def test_null_behind_a_precision_does_not_ask_for_it_in_json() -> None:
    assert spec(precisions={"fp16": None}).precisions.fp16 is None
    assert "fp16" not in spec(precisions={"fp16": None}).precisions.asked()


def test_precisions_come_in_their_order_with_fp32_always() -> None:
    assert list(spec().precisions.asked()) == ["fp32"]
    asked = spec(precisions={"int8-dynamic": {}, "fp16": {}}).precisions.asked()
    assert list(asked) == ["fp32", "fp16", "int8-dynamic"]


def test_relative_paths_stand_on_the_specs_folder(tmp_path: Path) -> None:
    loaded = load_spec(written(tmp_path, FULL))
    assert loaded.source.uri == str(tmp_path / "out/weights.safetensors")
    assert loaded.source.factory == f"{tmp_path / 'model.py'}:build"
    assert loaded.data.golden == str(tmp_path / "golden.npz")
    assert loaded.assets == (str(tmp_path / "labels.json"),)


def test_absolute_paths_and_addresses_stay(tmp_path: Path) -> None:
    loaded = load_spec(written(tmp_path, FULL))
    assert loaded.data.calibration == "/data/calibration.npz"
    assert loaded.data.evaluation == "file:///data/evaluation.npz"


def test_an_installed_factory_is_no_path(tmp_path: Path) -> None:
    text = "name: m\nsource: {framework: pytorch, uri: m.pt, factory: 'a.b:c'}\n"
    assert load_spec(written(tmp_path, text)).source.factory == "a.b:c"


def test_resolving_does_not_set_what_was_not_given(tmp_path: Path) -> None:
    loaded = load_spec(written(tmp_path, yaml.safe_dump(SMALLEST)))
    assert loaded.model_fields_set == {"name", "source"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("", "expected a mapping of keys, found NoneType"),
        ("- a", "found list"),
        ("name: a\nname: b\nsource: {framework: pytorch, uri: m}", "'name' is there twice"),
    ],
)
def test_text_that_is_no_spec_is_refused_with_the_file(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SpecError, match=message) as caught:
        load_spec(path)
    assert str(path) in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "release.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="cannot be read as text"):
        load_spec(path)


def test_a_folder_is_no_spec(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        load_spec(tmp_path)


def test_a_missing_spec_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="no spec at"):
        load_spec(tmp_path / "absent.yaml")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_published_schema_accepts_the_examples(path: Path) -> None:
    schema = ReleaseSpec.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)
    assert load_spec(path).name == path.parent.name


def test_the_published_schema_refuses_what_the_spec_refuses() -> None:
    schema = ReleaseSpec.model_json_schema()
    for wrong in ({"opset": MAX_OPSET + 1}, {"nam": 1}, {"source": {"framework": "caffe"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**SMALLEST, **wrong}, schema)


@pytest.mark.parametrize(
    ("uri", "path"),
    [("a/b", "a/b"), ("/a/b", "/a/b"), ("file:///a/b", "/a/b")],
)
def test_local_addresses_are_paths(uri: str, path: str) -> None:
    assert local_path(uri) == Path(path)


def test_an_address_without_a_loader_names_its_scheme() -> None:
    with pytest.raises(SpecError, match=r"a path or a file:// address is needed here, not s3:"):
        local_path("s3://bucket/key")


@pytest.mark.parametrize(
    ("metric", "candidate", "baseline", "good"),
    [
        ("accuracy", 0.90, 0.91, True),
        ("accuracy", 0.89, 0.91, False),
        ("accuracy", 0.95, 0.91, True),
        ("rmse", 1.005, 1.0, True),
        ("rmse", 1.2, 1.0, False),
        ("rmse", 0.2, 1.0, True),
        ("accuracy", float("nan"), 0.9, False),
        ("rmse", float("nan"), 0.9, False),
    ],
)
def test_a_metric_may_be_worse_by_the_drop(
    metric: Metric, candidate: float, baseline: float, *, good: bool
) -> None:
    assert is_close_or_better(candidate, baseline, metric=metric, drop=0.0101) is good


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
shapes = st.lists(st.one_of(st.integers(1, 9), st.sampled_from(["n", "t"])), max_size=4)
mappings = st.fixed_dictionaries(
    {
        "name": names,
        "source": st.fixed_dictionaries(
            {"framework": st.sampled_from(FRAMEWORKS), "uri": st.text(min_size=1)}
        ),
    },
    optional={
        "opset": st.integers(MIN_OPSET, MAX_OPSET),
        "inputs": st.dictionaries(
            names, st.fixed_dictionaries({"shape": shapes}, optional={}), max_size=3
        ),
        "precisions": st.dictionaries(
            st.sampled_from(["fp16", "int8-dynamic"]),
            st.one_of(st.none(), st.fixed_dictionaries({"required": st.booleans()})),
        ),
        "budget": st.fixed_dictionaries({"metric_drop": st.floats(0, 1)}),
        "assets": st.lists(st.text(min_size=1), max_size=3),
    },
)


@given(mappings)
def test_any_spec_survives_json(raw: dict[str, Any]) -> None:
    made = ReleaseSpec.from_mapping(raw)
    assert ReleaseSpec.model_validate_json(made.model_dump_json()) == made
    assert ReleaseSpec.model_validate(json.loads(made.model_dump_json())) == made
    assert hash(made.model_dump_json()) == hash(
        ReleaseSpec.model_validate(made.model_dump()).model_dump_json()
    )


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_no_spec_fails_otherwise_than_by_a_spec_error(raw: object) -> None:
    for candidate in (raw, {**SMALLEST, "data": raw}, {**SMALLEST, "inputs": raw}):
        with contextlib.suppress(SpecError):
            ReleaseSpec.from_mapping(candidate)
