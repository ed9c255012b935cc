"""Which nodes stay in float: any subset of one switchable model, and the search over subsets."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.precisions import graphs
from slipway.precisions.marking import Scheme
from slipway.precisions.mixed import Nodes, find_float_nodes, prune, rank_by_noise
from slipway.precisions.qdq import quantize_file
from slipway.precisions.switchable import SwitchableModel
from slipway.providers.sessions import Session
from slipway.samples.arrays import Arrays
from tests.unit.precisions.test_qdq import OP_TYPES, measured_ranges, models, prepared


@pytest.mark.parametrize("name", ["cnn", "everything", "residual"])
def test_any_subset_runs_like_the_model_really_quantized_so(name: str, tmp_path: Path) -> None:
    model, feeds = models()[name]
    path = prepared(model, tmp_path)
    ranges = measured_ranges(path, feeds)
    scheme = Scheme(OP_TYPES)
    switchable = SwitchableModel(path, ranges, scheme, work=tmp_path)
    random = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.6, 1.0):
        kept = frozenset(node for node in switchable.candidates if random.random() < share)
        switchable.keep_float(kept)
        real = tmp_path / "real.onnx"
        graphs.save_model(quantize_file(path, ranges, replace(scheme, float_nodes=kept)), real)
        expected = Session(real, optimization="none").run(feeds)
        actual = switchable.run(feeds)
        for output, values in expected.items():
            np.testing.assert_array_equal(actual[output], values, err_msg=f"{output} at {share}")


def test_with_every_node_in_float_it_is_the_source(tmp_path: Path) -> None:
    model, feeds = models()["cnn"]
    path = prepared(model, tmp_path)
    switchable = SwitchableModel(
        path, measured_ranges(path, feeds), Scheme(OP_TYPES), work=tmp_path
    )
    assert tuple(node[:4] for node in switchable.candidates) == ("Conv", "Conv", "Glob", "Gemm")
    switchable.keep_float(frozenset(switchable.candidates))
    assert _error(switchable.run(feeds), Session(path).run(feeds)) < 1e-6


def _error(actual: Arrays, expected: Arrays) -> float:
    return max(
        float(np.linalg.norm(actual[name] - values) / np.linalg.norm(values))
        for name, values in expected.items()
    )


# The search

LETTERS = tuple("abcdefgh")
noises = st.lists(st.floats(0.001, 10), min_size=8, max_size=8).map(
    lambda values: dict(zip(LETTERS, values, strict=True))
)


def total(noise: dict[str, float], kept: Nodes) -> float:
    return sum(value for node, value in noise.items() if node not in kept)


@given(noises, st.floats(0.01, 40))
def test_where_noise_adds_up_the_fewest_nodes_are_found(
    noise: dict[str, float], budget: float
) -> None:
    ranked = rank_by_noise(LETTERS, lambda kept: total(noise, kept))
    assert list(ranked) == sorted(LETTERS, key=lambda node: -noise[node])
    found = find_float_nodes(ranked, lambda kept: total(noise, kept) <= budget)
    largest_first = sorted(noise.values(), reverse=True)
    fewest = next(n for n in range(9) if sum(largest_first[n:]) <= budget)
    if fewest >= len(LETTERS):
        assert found is None
    else:
        assert found is not None
        assert len(found) == max(fewest, 1)
        assert total(noise, found) <= budget


@given(st.sets(st.sampled_from(LETTERS), min_size=1, max_size=7), st.permutations(LETTERS))
def test_what_is_returned_has_passed_and_nothing_in_it_is_spare(
    needed: set[str], ranked: list[str]
) -> None:
    found = find_float_nodes(ranked, lambda kept: needed <= kept)
    # Only where the last node of the ranking is needed can nothing stay quantized.
    assert found == (None if ranked[-1] in needed else frozenset(needed))


def test_a_search_takes_few_trials() -> None:
    nodes = [f"n{number}" for number in range(64)]
    tried: list[Nodes] = []

    def passes(kept: Nodes) -> bool:
        tried.append(kept)
        return {"n0", "n1", "n2"} <= kept

    assert find_float_nodes(nodes, passes) == frozenset({"n0", "n1", "n2"})
    assert len(tried) <= 1 + 6 + 3


def test_pruning_gives_back_what_need_not_stay_in_float() -> None:
    assert prune(LETTERS, lambda kept: "c" in kept) == {"c"}
