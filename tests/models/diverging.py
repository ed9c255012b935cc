"""PyTorch models whose exports really come out wrong, saved as programs."""

from pathlib import Path

import torch
from torch import nn
from torch.export import Dim


class Wave(nn.Module):
    """A rounding of its input becomes a large error of its output."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(1e6 * x)


class Waves(nn.Module):
    """Wrong from its second module on."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.wave = Wave()
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.wave(self.first(x)))  # type: ignore[no-any-return]


class Normalised(nn.Module):
    """Normalises by the batch where it was left in training mode; its export never does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.norm(self.first(x))))  # type: ignore[no-any-return]


def save(model: nn.Module, path: Path) -> Path:
    """A program with a dynamic batch, in the mode that the model is in."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    shapes = {"x": {0: Dim("batch")}}
    program = torch.export.export(model, (torch.randn(4, 64),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path
