"""The spec that a bundle keeps: without places, and one that can be read again."""

from slipway.specs import ReleaseSpec
from slipway.stages.releasing import spec_identity


def spec(calibration: str, evaluation: str) -> ReleaseSpec:
    return ReleaseSpec.model_validate(
        {
            "name": "tiny",
            "source": {"framework": "pytorch", "uri": "/somewhere/model.pt2"},
            "data": {"calibration": calibration, "evaluation": evaluation, "labels": "y"},
            "metric": "accuracy",
        }
    )


def test_it_keeps_names_and_no_places() -> None:
    kept = spec_identity(spec("/a/some.npz", "/b/other.npz"))
    assert kept == spec_identity(spec("/c/some.npz", "/d/other.npz"))
    assert kept["data"]["calibration"] == "some.npz"
    assert kept["source"]["uri"] == "model.pt2"
    assert ReleaseSpec.model_validate(kept).name == "tiny"


def test_two_files_of_one_name_are_two_when_it_is_read_again() -> None:
    kept = spec_identity(spec("/a/data.npz", "/b/data.npz"))
    again = ReleaseSpec.model_validate(kept)
    assert again.data.calibration != again.data.evaluation
    assert kept == spec_identity(spec("/c/data.npz", "/d/data.npz"))
