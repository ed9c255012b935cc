"""Train LightGBM on scikit-learn's wine data (178 wines, three growers).

Writes out/model.txt and an evaluation table that the model has not seen.
"""

from pathlib import Path

import lightgbm
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

OUT = Path(__file__).parent / "out"


def main() -> None:
    """Train, split, save."""
    OUT.mkdir(exist_ok=True)
    wines = load_wine(as_frame=True)
    table = wines.data.rename(columns=lambda name: name.replace("/", "_"))
    fit_x, test_x, fit_y, test_y = train_test_split(
        table, wines.target, test_size=0.4, random_state=0, stratify=wines.target
    )
    model = lightgbm.LGBMClassifier(
        n_estimators=60, num_leaves=6, min_child_samples=5, n_jobs=1, verbose=-1
    )
    model.fit(fit_x, fit_y)
    model.booster_.save_model(OUT / "model.txt")
    test_x.assign(grower=test_y).to_parquet(OUT / "evaluation.parquet", index=False)
    print(f"trained on {len(fit_x)} wines, accuracy {model.score(test_x, test_y):.3f}: {OUT}")


if __name__ == "__main__":
    main()
