"""The table that the boosted trees of the tests are trained on."""

import numpy as np

from slipway.samples.arrays import Array


def numbers(rows: int) -> Array:
    """Four columns, one with gaps, one of five codes, as float64."""
    random = np.random.default_rng(0)
    table = random.standard_normal((rows, 4))
    table[:, 3] = random.integers(0, 5, rows)
    table[::9, 1] = np.nan
    return table


def target(table: Array) -> Array:
    """A number by row that three of the columns decide."""
    filled = np.nan_to_num(table)
    found: Array = filled[:, 0] + 0.5 * filled[:, 1] + (filled[:, 3] % 2)
    return found
