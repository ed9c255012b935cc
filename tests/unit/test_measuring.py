"""What a release refuses to measure, before anything runs."""

from typing import Any

import pytest

from slipway.errors import SpecError
from slipway.specs import ReleaseSpec
from slipway.stages.making import fetch_materials


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"openvino": {"num_thread": 2}}, "did you mean 'num_of_threads'.*it has cache_dir, "),
        ({"openvino": {"precision": "INT8"}}, "'INT8' is not one of FP32, FP16, ACCURACY"),
        ({"cpu": {"threads": 2}}, "cpu has no such option .it has use_arena"),
    ],
)
def test_a_provider_s_wrong_option_is_refused_before_the_source_is_looked_at(
    options: dict[str, Any], words: str
) -> None:
    spec = ReleaseSpec.from_mapping(
        {
            "name": "tiny",
            "source": {"framework": "onnx", "uri": "absent.onnx"},
            "benchmark": {"provider_options": options},
        }
    )
    with pytest.raises(SpecError, match=words):
        fetch_materials(spec)
