"""Fit a Pipeline on scikit-learn's diabetes study (442 patients): number and string columns.

Writes out/model.skops and an evaluation table that the model has not seen.
"""

from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

OUT = Path(__file__).parent / "out"
WORDS = ["sex", "age_group"]


def load() -> tuple[pd.DataFrame, pd.Series]:
    """The study as it was recorded: years, units of measurement, and two columns of words."""
    study = load_diabetes(as_frame=True, scaled=False)
    table = study.data.rename(columns=str)
    table["sex"] = table["sex"].map({1.0: "group 1", 2.0: "group 2"})  # coded so in the source
    ages = pd.cut(table["age"], [0, 40, 60, 120], labels=["under 40", "40 to 59", "60 and over"])
    table["age_group"] = ages.astype(str)
    return table, study.target


def main() -> None:
    """Fit, split, save."""
    OUT.mkdir(exist_ok=True)
    table, target = load()
    fit_x, test_x, fit_y, test_y = train_test_split(table, target, test_size=0.3, random_state=0)
    numbers = [name for name in table.columns if name not in WORDS]
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
        ]
    )
    model = make_pipeline(columns, GradientBoostingRegressor(random_state=0))
    model.fit(fit_x, fit_y)
    skops.io.dump(model, OUT / "model.skops")
    test_x.assign(progression=test_y).to_parquet(OUT / "evaluation.parquet", index=False)
    print(f"fitted on {len(fit_x)} patients, R2 {model.score(test_x, test_y):.3f}: {OUT}")


if __name__ == "__main__":
    main()
