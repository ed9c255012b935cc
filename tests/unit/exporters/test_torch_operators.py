"""Operators that are written in ONNX by us: pools of any size, attention of which all is masked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from slipway.errors import ExportFailed
from slipway.exporters import export
from slipway.protocols import ExportRequest
from slipway.providers.sessions import Session
from slipway.samples.arrays import save_npz
from slipway.samples.golden import GoldenSet
from slipway.specs import SourceSpec, Tolerance
from slipway.validation.parity import check_parity
from tests.models.pytorch import save_program
from tests.torch_cases import Case, floats, save

pytestmark = pytest.mark.filterwarnings(
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"
)
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 23), st.integers(1, 23))
Pool = tuple[nn.Module, Session]


def opened(module: nn.Module, folder: Path, *shape: str | int) -> Pool:
    scratch = folder / "scratch"
    scratch.mkdir()
    made = export(save(Case(lambda: module, floats(*shape)), folder), scratch)
    return module, Session(made.model)


def pooled(pool: Pool, x: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What the module gives, and what the graph does."""
    module, session = pool
    answer = module(torch.from_numpy(x))
    tensors = answer if isinstance(answer, tuple) else (answer,)
    return [tensor.numpy() for tensor in tensors], list(session.run({"x": x}).values())


@pytest.fixture(scope="module")
def means(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    shape = ("batch", 2, "height", "width")
    return opened(nn.AdaptiveAvgPool2d((3, 4)), tmp_path_factory.mktemp("means"), *shape)


@pytest.fixture(scope="module")
def maxima(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    module = nn.AdaptiveMaxPool2d((4, 3), return_indices=True)
    return opened(module, tmp_path_factory.mktemp("maxima"), "batch", 2, "height", "width")


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES)
def test_adaptive_means_hold_at_every_size(means: Pool, sizes: tuple[int, int, int]) -> None:
    rows, height, width = sizes
    x = np.random.default_rng(height * width).standard_normal((rows, 2, height, width))
    expected, found = pooled(means, x.astype(np.float32))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES)
def test_adaptive_maxima_and_the_first_of_their_places_hold_at_every_size(
    maxima: Pool, sizes: tuple[int, int, int]
) -> None:
    rows, height, width = sizes
    # Few values, so that many places are equal.
    x = np.random.default_rng(height * width).integers(0, 4, (rows, 2, height, width))
    for expected, found in zip(*pooled(maxima, x.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_windows_that_divide_the_size_are_plain_pools(tmp_path: Path) -> None:
    pool = opened(nn.AdaptiveMaxPool3d((2, 3, 1)), tmp_path, "batch", 2, 4, 6, 5)
    x = np.random.default_rng(0).standard_normal((2, 2, 4, 6, 5)).astype(np.float32)
    expected, found = pooled(pool, x)
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_divisor_at_ragged_edges_is_refused_in_the_words_of_the_fault(tmp_path: Path) -> None:
    pool = nn.AvgPool2d(2, divisor_override=3, ceil_mode=True)
    with pytest.raises(ExportFailed, match=r"^an average pool has both divisor_override and ceil"):
        opened(pool, tmp_path, "batch", 2, 7, 5)


class Attention(nn.Module):
    """Attention that a mask of bools, or of minus infinities, keeps from places of padding."""

    def __init__(self, *, heads: int, added: bool) -> None:
        super().__init__()
        self.heads, self.added = heads, added

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        rows, length, width = x.shape
        mask = seen[:, None, :]
        if self.heads:
            x = x.reshape(rows, length, self.heads, width // self.heads).transpose(1, 2)
            mask = mask[:, None]
        if self.added:
            mask = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, float("-inf"))
        return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)


@pytest.mark.parametrize(
    ("heads", "added", "opset"), [(2, True, 18), (2, False, 18), (0, False, 18), (2, True, 26)]
)
def test_a_row_that_is_padding_alone_attends_to_nothing_as_in_the_source(
    tmp_path: Path, heads: int, added: bool, opset: int
) -> None:
    x = torch.randn(32, 6, 8, generator=torch.Generator().manual_seed(0))
    seen = torch.arange(6) < torch.arange(32)[:, None] % 7
    assert not seen[0].any()
    batch = torch.export.Dim("batch")
    path = save_program(
        Attention(heads=heads, added=added).eval(),
        (x[:3], seen[:3]),
        ({0: batch}, {0: batch}),
        tmp_path / "model.pt2",
    )
    save_npz(tmp_path / "golden.npz", {"x": x.numpy(), "seen": seen.numpy()})
    request = ExportRequest(
        source=SourceSpec(framework="pytorch", uri=str(path)),
        path=path,
        golden_inputs=tmp_path / "golden.npz",
        opset=opset,
    )
    made = export(request, tmp_path)
    golden = GoldenSet.load(made.golden)
    assert np.isfinite(golden.cases[-1].outputs["output"]).all()
    report = check_parity(made.model, golden, tolerance=Tolerance())
    assert report.passed, [output.reason for output in report.outputs]
