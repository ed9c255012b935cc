"""Content keys, and which failures are tried again; no server is asked."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Failed

from slipway.artifacts import ArtifactRef, digest_bytes
from slipway.errors import SlipwayError, Transient, error_classes
from slipway.isolation.interpreters import versions_here
from slipway.specs import BenchmarkSpec, Tolerance
from tasks.policy import content_key, contents, is_transient, stage

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def ref(data: bytes = b"model", *, uri: str = "file:///somewhere", **more: Any) -> ArtifactRef:
    return ArtifactRef(uri=uri, digest=digest_bytes(data), size_bytes=len(data), **more)


def strictly(value: object) -> object:
    """A value that is equal to another's only where types are, too: 1, 1.0 and True are three."""
    if isinstance(value, dict):
        return frozenset((name, strictly(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return tuple(strictly(inner) for inner in value)
    return type(value).__name__, repr(value)


def key(reads: object, *, name: str = "export", code: int = 1, tools: tuple[str, ...] = ()) -> str:
    return content_key(name, code, reads, tools)


def test_keys_stay_what_they_were() -> None:
    # A key that changes by itself throws every cache away: bump code_version, or do not change it.
    assert key({"refs": [ref(), None], "opset": 18}) == (
        "sha256-fd48fe347b4d5b08be66afa786ea29c32f16add8adecdbfda22045d77f19577c"
    )
    assert key({"tolerance": Tolerance(), "labels": ("a", "b")}, name="validate", code=3) == (
        "sha256-7dcdd770a032722e8f3c869420d9b0dcb99130258bbe968600f05d333caecba3"
    )


@given(st.text(), st.text())
def test_a_place_decides_nothing(here: str, there: str) -> None:
    assert key({"model": ref(uri=here)}) == key({"model": ref(uri=there)})
    assert here not in str(contents(ref(uri=f"file:///{here}/x"))).split("/")[1:-1]


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=5), st.randoms())
def test_the_order_of_a_mapping_decides_nothing(mapping: dict[str, Any], random: Any) -> None:
    items = list(mapping.items())
    random.shuffle(items)
    assert key(dict(items)) == key(mapping)


@given(json_values, json_values)
def test_other_content_has_another_key(one: object, other: object) -> None:
    assert (key(one) == key(other)) == (strictly(one) == strictly(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(ref(b"a"), ref(b"b"), id="digest"),
        pytest.param(ref(), ref(media_type="application/x-other"), id="media type"),
        pytest.param(Tolerance(rtol=1e-4), Tolerance(rtol=1e-3), id="option"),
        pytest.param(BenchmarkSpec(queries=20), BenchmarkSpec(queries=21), id="nested option"),
        pytest.param([ref(b"a"), ref(b"b")], [ref(b"b"), ref(b"a")], id="order of references"),
        pytest.param([ref(), None], [None, ref()], id="role of a reference"),
        pytest.param({"width": 1}, {"width": "1"}, id="type"),
        pytest.param({"uri": "one"}, {"uri": "other"}, id="a user's own key named uri"),
    ],
)
def test_what_matters_changes_the_key(one: object, other: object) -> None:
    assert key(one) != key(other)


def test_task_code_and_tools_change_the_key() -> None:
    keys = [
        key({}),
        key({}, name="convert"),
        key({}, code=2),
        key({}, tools=("numpy",)),
        key({}, tools=("numpy", "onnx")),
    ]
    assert len(set(keys)) == len(keys)
    assert key({}, tools=("onnx", "numpy")) == keys[-1]


def test_another_version_of_a_tool_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key({}, tools=("onnx",))
    monkeypatch.setattr("slipway.isolation.interpreters.version", lambda _: "99.0")
    assert key({}, tools=("onnx",)) != before


def test_a_tool_that_is_not_installed_has_a_version_too() -> None:
    assert versions_here(("no-such-package-anywhere",)) == {"no-such-package-anywhere": "absent"}


@pytest.mark.parametrize("value", [object(), {"folder": __import__("pathlib").Path("/x")}, b"raw"])
def test_what_has_no_content_is_refused_and_not_guessed(value: object) -> None:
    with pytest.raises(TypeError, match="no content"):
        contents(value)


def failed(error: BaseException) -> State[Any]:
    return Failed(data=error)


@pytest.mark.parametrize("kind", error_classes().values(), ids=lambda kind: kind.__name__)
def test_only_the_transient_branch_is_tried_again(kind: type[SlipwayError]) -> None:
    asked = is_transient(cast("Task[..., Any]", None), cast("TaskRun", None), failed(kind("no")))
    assert asked is issubclass(kind, Transient)


@pytest.mark.parametrize("error", [ValueError("x"), OSError("x"), MemoryError(), TimeoutError()])
def test_failures_of_no_family_are_not_tried_again(error: BaseException) -> None:
    assert not is_transient(cast("Task[..., Any]", None), cast("TaskRun", None), failed(error))


def test_a_stage_is_a_plain_function_without_its_decorator() -> None:
    @stage(name="add", run_name="add {x}", code_version=1, reads=lambda given: given["x"])
    def add(x: int, y: int = 1) -> int:
        """Add."""
        return x + y

    assert add.fn(1) == 2
    assert add.fn(1, y=5) == 6
    assert (add.name, add.description) == ("add", "Add.")


def test_a_stage_that_changes_something_outside_is_never_cached() -> None:
    @stage(name="send", run_name="send")
    def send() -> None:
        """Send."""

    assert send.persist_result is False
    assert send.cache_key_fn is None
    assert send.result_storage is None
