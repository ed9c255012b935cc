"""Train XGBoost on scikit-learn's breast cancer study (569 patients), stopping early.

Writes out/model.ubj and an evaluation table that the model has not seen.
"""

from pathlib import Path

import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

OUT = Path(__file__).parent / "out"


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    study = load_breast_cancer(as_frame=True)
    table = study.data.rename(columns=lambda name: name.replace(" ", "_"))
    fit_x, test_x, fit_y, test_y = train_test_split(
        table, study.target, test_size=0.3, random_state=0, stratify=study.target
    )
    fit_x, stop_x, fit_y, stop_y = train_test_split(fit_x, fit_y, test_size=0.25, random_state=0)
    model = xgboost.XGBClassifier(
        n_estimators=300, max_depth=3, learning_rate=0.2, early_stopping_rounds=20, n_jobs=1
    )
    model.fit(fit_x, fit_y, eval_set=[(stop_x, stop_y)], verbose=False)
    model.save_model(OUT / "model.ubj")
    test_x.assign(benign=test_y).to_parquet(OUT / "evaluation.parquet", index=False)
    rounds = model.best_iteration + 1
    print(f"{rounds} rounds on {len(fit_x)} patients, accuracy {model.score(test_x, test_y):.3f}")


if __name__ == "__main__":
    main()
