"""Energies as small networks on the ambient coordinates, several trained side by side."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Energies(nn.Module):
    r"""K networks :math:`E_k: R^D \to R` of one shape, and their mean E.

    Each is a perceptron with SiLU units on :math:`(x - m) / s`, a similarity fixed by the data.
    The last layer starts at 0, so every :math:`e^{-E_k}` starts as the uniform distribution.

    Args:
        count: K.
        ambient_dim: D.
        width: units of a hidden layer.
        depth: hidden layers.

    Example:
        >>> E = Energies(5, 3, width=16, depth=2)
        >>> x = torch.zeros(7, 3)
        >>> E.each(x).shape, E(x).shape
        (torch.Size([5, 7]), torch.Size([7]))
    """

    centre: Tensor
    unit: Tensor

    def __init__(self, count: int, ambient_dim: int, *, width: int = 32, depth: int = 2) -> None:
        super().__init__()
        sizes = [ambient_dim, *[width] * depth, 1]
        zeros = torch.zeros(count, 1, 1, dtype=torch.float64)
        self.W = nn.ParameterList(zeros.repeat(1, a, b) for a, b in pairwise(sizes))
        self.b = nn.ParameterList(zeros.repeat(1, 1, b) for b in sizes[1:-1])
        self.register_buffer("centre", torch.zeros(ambient_dim, dtype=torch.float64))
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))

    @torch.no_grad()
    def start(self, x: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Take the similarity from the data, and draw the first weights."""
        self.centre = x.mean(0)
        self.unit = (x - self.centre).square().sum(-1).mean().sqrt()
        W, b = cast("list[Tensor]", list(self.W)), cast("list[Tensor]", list(self.b))
        for weight in W[:-1]:
            weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[-2] ** 0.5)
        W[-1].zero_()
        for i, bias in enumerate(b):
            scale = 1.0 if i == 0 else 0.1
            bias.copy_(scale * torch.randn(bias.shape, generator=generator))

    def precision(self, dtype: torch.dtype) -> None:
        """Keep the weights in another precision: single is enough, and faster, for a descent."""
        for p in self.parameters():
            p.data = p.data.to(dtype)

    def standardise(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """(x - m) / s, in the precision of the weights."""
        return ((x.to(torch.float64) - self.centre) / self.unit).to(self.W[0].dtype)

    def units(self, y: Float[Tensor, "*K n D"]) -> Float[Tensor, "K n"]:
        """E_k at standardised points, shared, or one cloud for each network."""
        h = y.expand(self.W[0].shape[0], *y.shape[-2:])
        for W, b in zip(self.W[:-1], self.b, strict=True):
            h = functional.silu(torch.baddbmm(b, h, W))
        return (h @ self.W[-1]).squeeze(-1)

    def each(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "K n"]:
        """E_k(x)."""
        return self.units(self.standardise(x)).to(torch.float64)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """E(x), the mean over k."""
        return self.each(x.reshape(-1, x.shape[-1])).mean(0).reshape(x.shape[:-1])

    def extra_repr(self) -> str:
        """Shown by repr."""
        K, D, width = self.W[0].shape
        return f"{K}, {D}, width={width}, depth={len(self.b)}"
