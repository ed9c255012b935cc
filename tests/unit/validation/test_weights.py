"""A constant that float32 holds too coarsely is named, on an estimator that really fails so."""

from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from skops import io as skops_io

from slipway.exporters import export
from slipway.protocols import ExportRequest
from slipway.providers.sessions import Session
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.explain import find_causes
from slipway.validation.parity import check_parity


def test_an_offset_that_is_too_fine_for_float32_is_named(tmp_path: Path) -> None:
    # Centring on 5000.1: the mean that the graph holds is off by its last bit.
    random = np.random.default_rng(0)
    x = (random.standard_normal((200, 4)) + 5000.1).astype(np.float32)
    pipeline = make_pipeline(PCA(2), LinearRegression()).fit(
        x.astype(np.float64), (x - 5000.1).sum(axis=1)
    )
    path = tmp_path / "model.skops"
    skops_io.dump(pipeline, path)
    np.savez(tmp_path / "data.npz", X=x[:40])
    source = SourceSpec(framework="sklearn", uri=str(path))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    made = export(
        ExportRequest(source=source, path=path, golden_inputs=tmp_path / "data.npz"), scratch
    )
    golden = GoldenSet.load(made.golden)
    session = Session(made.model)
    assert not check_parity(session, golden, tolerance=Tolerance()).passed
    diagnosis, _ = find_causes(made.model, session, golden, Tolerance(), scratch)
    assert diagnosis is not None
    assert diagnosis.kind == "float32-cliff"
    assert diagnosis.evidence["constant"]
