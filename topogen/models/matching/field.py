"""The velocity of a flow as a network on the ambient coordinates and time."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..nn.mlp import MLP

_TIMES = 4
_END = 3e-3  # details of this size in time are seen at its end


class Field(nn.Module):
    r"""A perceptron :math:`f: R^D \times [0, 1] \to R^D` with SiLU units.

    It sees :math:`y = (x - m) / s`, a similarity fixed by the data, the cosines and sines of
    :math:`By`, rows of B of lengths 1 to `finest`, even in the logarithm, the time t, the cosines
    and sines of :math:`\pi k t`, and :math:`\log(1 - t + .003)`. The last layer starts at 0: no
    flow.

    M. Tancik et al., Fourier features let networks learn high frequency functions (2020),
    https://arxiv.org/abs/2006.10739.

    Args:
        ambient_dim: D.
        width: units of a hidden layer.
        depth: hidden layers.
        features: rows of B.
        finest: length of the longest of them: details of size s / `finest` are seen.

    Example:
        >>> f = Field(3, width=16, depth=2, features=8, finest=4.0)
        >>> f(torch.zeros(7, 3).double(), torch.zeros(7).double()).shape
        torch.Size([7, 3])
    """

    centre: Tensor
    unit: Tensor
    B: Tensor

    def __init__(
        self, ambient_dim: int, *, width: int, depth: int, features: int, finest: float
    ) -> None:
        super().__init__()
        self.finest = finest
        inputs = ambient_dim + 2 * features + 2 + 2 * _TIMES
        self.net = MLP(inputs, ambient_dim, width=width, depth=depth, activation=functional.silu)
        self.register_buffer("centre", torch.zeros(ambient_dim, dtype=torch.float64))
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))
        self.register_buffer("B", torch.zeros(ambient_dim, features, dtype=torch.float64))

    @torch.no_grad()
    def start(self, x: Float[Tensor, "n D"], generator: torch.Generator) -> None:
        """Take the similarity from points, and draw the frequencies and the first weights."""
        self.centre = x.mean(0)
        self.unit = (x - self.centre).square().sum(-1).mean().sqrt()
        B = torch.randn(self.B.shape, generator=generator, dtype=torch.float64)
        lengths = torch.logspace(0, math.log10(max(self.finest, 1.0)), B.shape[1]).double()
        self.B = B / B.norm(dim=0).clamp_min(1e-12) * lengths
        *hidden, last = self.net.W
        for W in hidden:
            W.copy_(torch.randn(W.shape, generator=generator) / W.shape[0] ** 0.5)
        for p in (last, *self.net.b):
            p.zero_()

    def forward(
        self, x: Float[Tensor, "*batch D"], t: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch D"]:
        """f(x, t), in the precision of the weights."""
        y = (x.to(self.B.dtype) - self.centre) / self.unit
        turn = y @ self.B
        k = torch.arange(1, _TIMES + 1, dtype=y.dtype, device=y.device)
        s = t.to(y.dtype).unsqueeze(-1)
        wave = torch.pi * k * s
        end = 1 + (1 - s + _END).log() / 3
        return self.net(torch.cat([y, turn.cos(), turn.sin(), s, wave.cos(), wave.sin(), end], -1))

    def extra_repr(self) -> str:
        """Shown by repr."""
        width, D = self.net.W[-1].shape
        return f"{D}, width={width}, depth={len(self.net.W) - 1}, features={self.B.shape[1]}"
