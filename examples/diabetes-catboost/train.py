"""Train CatBoost on scikit-learn's diabetes study (442 patients): progression after a year.

Writes out/model.cbm and an evaluation table that the model has not seen.
"""

from pathlib import Path

import catboost
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split

OUT = Path(__file__).parent / "out"


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    study = load_diabetes(as_frame=True, scaled=False)
    fit_x, test_x, fit_y, test_y = train_test_split(
        study.data, study.target, test_size=0.3, random_state=0
    )
    model = catboost.CatBoostRegressor(
        iterations=120,
        depth=4,
        random_seed=0,
        thread_count=1,
        verbose=False,
        allow_writing_files=False,
    )
    model.fit(fit_x, fit_y)
    model.save_model(str(OUT / "model.cbm"))
    test_x.assign(progression=test_y).to_parquet(OUT / "evaluation.parquet", index=False)
    print(f"trained on {len(fit_x)} patients, R2 {model.score(test_x, test_y):.3f}: {OUT}")


if __name__ == "__main__":
    main()
