"""Tiny scikit-learn models, really fitted, and the files that they are saved in."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from slipway.protocols import ExportRequest
from slipway.samples.arrays import Array, save_npz
from slipway.specs import SourceSpec

ROWS = 120


def numbers() -> Array:
    """Four columns."""
    return np.random.default_rng(0).standard_normal((ROWS, 4)).astype(np.float32)


def classes() -> Array:
    """Three classes that the columns decide."""
    x = numbers()
    return (x[:, 0] + x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1)


def columns() -> dict[str, Array]:
    """A table of whole numbers, floats and strings."""
    random = np.random.default_rng(0)
    return {
        "age": random.integers(18, 80, ROWS),
        "income": random.random(ROWS) * 1e3,
        "city": random.choice(["Bonn", "Köln", "Ulm"], ROWS),
    }


def classifier() -> Any:
    return LogisticRegression().fit(numbers(), np.array(["a", "b", "c"])[classes()])


def pipeline() -> Any:
    prepare = make_column_transformer(
        (StandardScaler(), ["age", "income"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
    )
    model = make_pipeline(prepare, LogisticRegression(max_iter=1000))
    return model.fit(pd.DataFrame(columns()), classes())


def regressor() -> Any:
    table = pd.DataFrame({name: columns()[name] for name in ("age", "income")})
    return HistGradientBoostingRegressor(max_iter=10).fit(table, numbers()[:, 0])


def save(
    model: Any, folder: Path, data: dict[str, Array] | None = None, **asked: Any
) -> ExportRequest:
    """The model as a skops file, and the request to export it."""
    path = folder / "model.skops"
    skops.io.dump(model, path)
    if data is not None:
        save_npz(folder / "data.npz", data)
        asked["golden_inputs"] = folder / "data.npz"
    source = SourceSpec(framework="sklearn", uri=str(path))
    return ExportRequest(source=source, path=path, **asked)
