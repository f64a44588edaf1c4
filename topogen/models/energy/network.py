"""Energies as small networks on the ambient coordinates, several trained side by side."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..nn.mlp import EnsembleMLP


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
        self.count = count
        self.net = EnsembleMLP(count, ambient_dim, 1, width=width, depth=depth, offset=False)
        self.register_buffer("centre", torch.zeros(ambient_dim, dtype=torch.float64))
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))

    @torch.no_grad()
    def start(self, x: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Take the similarity from the data, and draw the first weights."""
        self.centre = x.mean(0)
        self.unit = (x - self.centre).square().sum(-1).mean().sqrt()
        *hidden, last = self.net.W
        for W in hidden:
            W.copy_(torch.randn(W.shape, generator=generator) / W.shape[-2] ** 0.5)
        last.zero_()
        for i, b in enumerate(self.net.b):
            b.copy_((1.0 if i == 0 else 0.1) * torch.randn(b.shape, generator=generator))

    def standardise(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """(x - m) / s, in the precision of the weights."""
        return ((x.to(torch.float64) - self.centre) / self.unit).to(self.net.W[0].dtype)

    def units(self, y: Float[Tensor, "*K n D"]) -> Float[Tensor, "K n"]:
        """E_k at standardised points, shared, or one cloud for each network."""
        return self.net(y.expand(self.count, *y.shape[-2:])).squeeze(-1)

    def each(self, x: Float[Tensor, "n D"]) -> Float[Tensor, "K n"]:
        """E_k(x)."""
        return self.units(self.standardise(x)).to(torch.float64)

    def forward(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """E(x), the mean over k."""
        return self.each(x.reshape(-1, x.shape[-1])).mean(0).reshape(x.shape[:-1])

    def extra_repr(self) -> str:
        """Shown by repr."""
        K, D, width = self.net.W[0].shape
        return f"{K}, {D}, width={width}, depth={len(self.net.b)}"
