"""The JSON Schema that editors complete specs from stands beside the examples, up to date."""

import json
from pathlib import Path

from slipway.specs import ReleaseSpec

PUBLISHED = Path(__file__).parents[2] / "examples" / "release.schema.json"


def test_the_published_schema_is_the_specs() -> None:
    # To accept a change: slipway schema > examples/release.schema.json
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    assert published == ReleaseSpec.model_json_schema()
