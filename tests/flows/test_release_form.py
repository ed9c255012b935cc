"""The form of the release in the Prefect UI: the parameter schema that it is drawn from."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from flows.release import release

SNAPSHOT = Path(__file__).with_name("release_form.json")


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return json.loads(parameter_schema(release).model_dump_json())  # type: ignore[no-any-return]


def test_the_form_is_what_it_was(form: dict[str, Any]) -> None:
    # To accept a change, write `form` into the file, and read the difference as a user would.
    assert form == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def fields(form: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, schema in [("release", form), *form["definitions"].items()]:
        for name, field in schema.get("properties", {}).items():
            # A field that means just what its box means says it there.
            box = form["definitions"].get(field.get("$ref", "").rpartition("/")[2], {})
            yield f"{place}.{name}", {**box, **field}


def test_every_field_says_what_it_means(form: dict[str, Any]) -> None:
    silent = [
        place for place, field in fields(form) if len(field.get("description", "").split()) < 2
    ]
    assert silent == []
    assert len(list(fields(form))) > 40


def test_every_box_says_what_it_is(form: dict[str, Any]) -> None:
    assert [n for n, schema in form["definitions"].items() if not schema.get("description")] == []


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
