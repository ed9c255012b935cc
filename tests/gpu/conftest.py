"""A model on a GPU: skipped, with the reason, where this onnxruntime finds none that works."""

import pytest

from slipway.errors import SlipwayError
from slipway.providers.sessions import Session
from tests import tiny_models


@pytest.fixture(scope="session")
def cuda(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CUDA really runs a model here."""
    model = tiny_models.save(tiny_models.cnn(), tmp_path_factory.mktemp("probe"))
    try:
        Session(model, provider="cuda")
    except SlipwayError as error:
        pytest.skip(f"no CUDA here: {error}")
