"""Forms in the Prefect UI, of releases and promotions: the schemas that they are drawn from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.promote import promote
from flows.release import release
from flows.rollback import rollback

SNAPSHOTS = Path(__file__).parent
FORMS: dict[str, Flow[..., Any]] = {"release": release, "promote": promote, "rollback": rollback}


def form_of(name: str) -> dict[str, Any]:
    return json.loads(parameter_schema(FORMS[name]).model_dump_json())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return form_of("release")


@pytest.mark.parametrize("name", FORMS)
def test_the_form_is_what_it_was(name: str) -> None:
    # To accept a change, write the form into the file, and read the difference as a user would.
    snapshot = SNAPSHOTS / f"{name}_form.json"
    assert form_of(name) == json.loads(snapshot.read_text(encoding="utf-8"))


def fields(form: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, schema in [("flow", form), *form["definitions"].items()]:
        for name, field in schema.get("properties", {}).items():
            # A field that means just what its box means says it there.
            box = form["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
            yield f"{place}.{name}", {**box, **field}


@pytest.mark.parametrize(("name", "least"), [("release", 40), ("promote", 15), ("rollback", 5)])
def test_every_field_says_what_it_means(name: str, least: int) -> None:
    found = list(fields(form_of(name)))
    silent = [place for place, field in found if len(field.get("description", "").split()) < 2]
    assert silent == []
    assert len(found) >= least


@pytest.mark.parametrize("name", FORMS)
def test_every_box_says_what_it_is(name: str) -> None:
    boxes = form_of(name)["definitions"]
    assert [n for n, schema in boxes.items() if not schema.get("description")] == []


def test_fields_have_names_and_stand_in_the_order_of_the_spec(form: dict[str, Any]) -> None:
    # By `position`: Postgres forgets the order of keys.
    for schema in form["definitions"].values():
        places = [field["position"] for field in schema.get("properties", {}).values()]
        assert places == list(range(len(places)))
    assert [place for place, field in fields(form) if not field.get("title")] == []
    names = {field["position"]: field["title"] for field in _spec(form).values()}
    assert [names[place] for place in range(4)] == ["Name", "Source", "Inputs", "Outputs"]
    assert all("Spec" not in schema["title"] for schema in form["definitions"].values())


def _spec(form: dict[str, Any]) -> dict[str, Any]:
    return form["definitions"]["ReleaseSpec"]["properties"]  # type: ignore[no-any-return]


def test_the_form_asks_for_the_spec_and_nothing_else(form: dict[str, Any]) -> None:
    assert list(form["properties"]) == form["required"] == ["spec"]
    assert form["definitions"]["ReleaseSpec"]["required"] == ["name", "source"]
    assert all(
        schema.get("additionalProperties") is False for schema in form["definitions"].values()
    )


def test_no_description_speaks_of_a_file_that_a_form_does_not_have(form: dict[str, Any]) -> None:
    # The form is filled in on a web page: there is no spec file beside which something could lie.
    assert [place for place, field in fields(form) if "beside the spec" in str(field)] == []
