"""How far a PyTorch program, or any other module, is from itself, in float64 and on one thread."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch.utils import _pytree as pytree

from slipway.errors import ExportFailed
from slipway.exporters.noise import Source, measure_noise
from slipway.exporters.torch_programs import Program, as_source
from slipway.exporters.wording import first_lines
from slipway.reports import OutputNoise
from slipway.samples.arrays import Array
from slipway.samples.golden import GoldenSet

_MOST_BYTES: Final = 200_000_000
"""In float64 a model takes twice its memory again, and several times its time."""


def torch_noise(
    program: Program, names: Sequence[str], golden: GoldenSet
) -> tuple[OutputNoise, ...]:
    """The program's own noise; nothing for one that is too large, or in training mode."""
    if program.training:
        return ()
    return own_noise(
        golden,
        weights=(*program.program.state_dict.values(), *program.program.constants.values()),
        float64=lambda: _in_float64(program, names),
        one_thread=as_source(program, names),
    )


def own_noise(
    golden: GoldenSet,
    *,
    weights: Iterable[object],
    float64: Callable[[], Source],
    one_thread: Source,
) -> tuple[OutputNoise, ...]:
    """The noise of anything that torch runs; nothing where its weights are too large.

    Args:
        golden: What it gave, on all threads.
        weights: What it holds, to tell its size.
        float64: Makes the source that computes in float64.
        one_thread: The source itself.
    """
    if sum(tensor.nbytes for tensor in weights if isinstance(tensor, torch.Tensor)) > _MOST_BYTES:
        return ()
    # One thread for float64 as well: at golden sizes a second one spins more than it computes.
    with _one_thread():
        return measure_noise(golden, float64=float64(), one_thread=one_thread)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_float64(program: Program, names: Sequence[str]) -> Source:
    # A copy: a module made of a program shares its weights.
    module = copy.deepcopy(program.program.module(check_guards=False)).double()

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        tensors = [torch.from_numpy(np.ascontiguousarray(feeds[i.name])) for i in program.inputs]
        positional, keywords = pytree.tree_unflatten(tensors, program.program.call_spec.in_spec)
        try:
            with torch.no_grad():
                answer = module(*positional, **keywords)
        except Exception as error:  # operators raise whatever they like at mixed types
            raise ExportFailed(
                f"the program does not run in float64: {first_lines(error)}"
            ) from error
        leaves = [leaf for leaf in pytree.tree_leaves(answer) if isinstance(leaf, torch.Tensor)]
        return dict(zip(names, (leaf.numpy() for leaf in leaves), strict=True))

    return run
