"""Point clouds as tensors: the part of this package that needs torch."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int

from .arrays import as_array, as_table, first_rows


def as_tensor(
    points: Any, *, name: str = "points", minimum: int = 1, ambient_dim: int | None = None
) -> torch.Tensor:
    """:func:`as_array`, as a float64 CPU tensor of shape (n, D)."""
    return torch.from_numpy(as_array(points, name=name, minimum=minimum, ambient_dim=ambient_dim))


def as_rows(points: Any, *, ambient_dim: int) -> torch.Tensor:
    """:func:`as_table`, as a float64 CPU tensor: rows may be NaN, and there may be none."""
    return torch.from_numpy(as_table(points, ambient_dim=ambient_dim))


def distinct(points: torch.Tensor) -> torch.Tensor:
    """The rows without repetitions, each at its first place: the order does not change."""
    return points[torch.from_numpy(first_rows(points.numpy()))]


def nearest_row(
    points: Float[torch.Tensor, "m D"], x: Float[torch.Tensor, "n D"], chunk_size: int = 2048
) -> Int[torch.Tensor, " n"]:
    """The index of the row of `points` nearest to each row of x."""
    if x.shape[0] == 0:
        return torch.zeros(0, dtype=torch.int64, device=x.device)
    return torch.cat([torch.cdist(part, points).argmin(-1) for part in x.split(chunk_size)])
