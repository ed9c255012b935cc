"""Tiny PyTorch models, trained for a few steps, and the files that they are saved in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import Dim

FACTORY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Linear(4, width)
        self.second = nn.Linear(width, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def build(width=8):
    return Net(width)
"""


class Net(nn.Module):
    """The module that `FACTORY` builds."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.second = nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """Ids and a mask to scores for the text and for each token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embedding(ids) * mask.unsqueeze(-1)
        return {"logits": self.head(hidden.mean(1)), "tokens": self.head(hidden)}


class Nested(nn.Module):
    """A tuple that holds a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        scores = self.head(x)
        return scores, (scores.softmax(-1), scores.argmax(-1))


class Echo(nn.Module):
    """Calls its output by the name of its input."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"x": x * 2 + 1}


def trained_net() -> Net:
    """Trained for twenty steps to tell which of three sums is the largest."""
    torch.manual_seed(0)
    model = Net()
    x = torch.randn(64, 4)
    _fit(model, lambda: nn.functional.cross_entropy(model(x), x[:, :3].argmax(1)))
    return model


def trained_tokens() -> Tokens:
    """Trained for twenty steps to tell whether ids are large."""
    torch.manual_seed(0)
    model = Tokens()
    ids = torch.randint(0, 16, (64, 6))
    target = (ids.float().mean(1) > 8).long()
    mask = torch.ones(64, 6)
    _fit(model, lambda: nn.functional.cross_entropy(model(ids, mask)["logits"], target))
    return model


def save_net(path: Path, *, dynamic: bool = True) -> Path:
    """The trained net as a .pt2 program."""
    shapes = ({0: Dim("batch")},) if dynamic else None
    return save_program(trained_net(), (torch.randn(2, 4),), shapes, path)


def save_tokens(path: Path) -> Path:
    """The trained token model, dynamic in batch and sequence."""
    both = {0: Dim("batch"), 1: Dim("sequence")}
    arguments = (torch.randint(0, 16, (2, 5)), torch.ones(2, 5))
    return save_program(trained_tokens(), arguments, (both, both), path)


def save_program(
    model: nn.Module, arguments: tuple[torch.Tensor, ...], shapes: Any, path: Path
) -> Path:
    program = torch.export.export(model.eval(), arguments, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def _fit(model: nn.Module, loss: Callable[[], torch.Tensor]) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
