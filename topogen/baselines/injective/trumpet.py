"""Flows that widen: injective linear and ReLU layers between coupling layers."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...models.injective.bases import Base
from ...models.nn.coupling import CouplingFlow
from .autoencoder import Autoencoder, require_flat


class TallLinear(nn.Module):
    r""":math:`y = W x + c`, W of shape (m, k), m >= k, with its least-squares left inverse.

    Example:
        >>> layer = TallLinear(2, 3)
        >>> layer.start(torch.Generator().manual_seed(0))
        >>> x = torch.randn(4, 2).double()
        >>> bool((layer.inverse(layer(x)) - x).abs().max() < 1e-12)
        True
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(
                f"expected at least as many outputs as inputs, got {outputs} and {inputs}"
            )
        self.W = nn.Parameter(torch.eye(outputs, inputs, dtype=torch.float64))
        self.c = nn.Parameter(torch.zeros(outputs, dtype=torch.float64))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw orthonormal columns."""
        self.W.copy_(_orthonormal(self.W, generator))
        self.c.zero_()

    def forward(self, x: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch m"]:
        """The image."""
        return x @ self.W.mT + self.c

    def inverse(self, y: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch k"]:
        r"""The x whose image is nearest, :math:`(W^\top W)^{-1} W^\top (y - c)`."""
        return (y - self.c) @ torch.linalg.solve(self.W.mT @ self.W, self.W.mT).mT

    def log_volume(self) -> Float[Tensor, ""]:
        r""":math:`\tfrac12 \log\det W^\top W`."""
        return 0.5 * torch.linalg.slogdet(self.W.mT @ self.W)[1]


def _orthonormal(W: Tensor, generator: torch.Generator) -> Tensor:
    return torch.linalg.qr(torch.randn(W.shape, generator=generator, dtype=torch.float64))[0]


class InjectiveReLU(nn.Module):
    r""":math:`y = \mathrm{ReLU}([W; -W]\, x)`, W square; left inverse :math:`W^{-1} (y_+ - y_-)`.

    Example:
        >>> layer = InjectiveReLU(2)
        >>> x = torch.randn(4, 2).double()
        >>> layer(x).shape, bool((layer.inverse(layer(x)) - x).abs().max() < 1e-12)
        (torch.Size([4, 4]), True)
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.eye(inputs, dtype=torch.float64))

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw an orthogonal W."""
        self.W.copy_(_orthonormal(self.W, generator))

    def forward(self, x: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch m"]:
        """The image."""
        y = x @ self.W.mT
        return torch.cat([y, -y], -1).relu()

    def inverse(self, y: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch k"]:
        """The x with this image, or one next to it."""
        up, down = y.chunk(2, -1)
        return (up - down) @ torch.linalg.inv(self.W).mT


class TrumpetAutoencoder(Autoencoder):
    r"""Coupling layers of R^w, a widening layer, coupling layers of R^m, and so on up to R^D.

    The widths are w, D // 2, 2 (D // 2) and D; the step that doubles is an injective ReLU layer,
    the others are tall linear ones. M has kinks where the ReLU layer has.

    K. Kothari et al., Trumpets: injective flows for inference and inverse problems (2021),
    https://arxiv.org/abs/2102.10461.

    Args:
        base: B, no quotient, in at most D numbers; else UnsupportedError.
        ambient_dim: D.
        layers: coupling layers at each width.
        width: units of a hidden layer of their conditioners.
    """

    def __init__(self, base: Base, ambient_dim: int, *, layers: int, width: int) -> None:
        super().__init__()
        require_flat(base, "trumpet", ambient_dim)
        self.base, self.ambient_dim = base, ambient_dim
        self.layers, self.width = layers, width
        half, at = ambient_dim // 2, base.width
        couplings = partial(CouplingFlow, layers=layers, width=width)
        self.steps = nn.ModuleList([couplings(at)])
        if at <= half:
            self.steps.extend([TallLinear(at, half), couplings(half), InjectiveReLU(half)])
            at = 2 * half
        if at < ambient_dim:
            self.steps.append(TallLinear(at, ambient_dim))
        self.steps.append(couplings(ambient_dim))

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights."""
        for step in self.steps:
            cast("TallLinear | InjectiveReLU | CouplingFlow", step).start(generator)

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        for step in self.steps:
            b = step(b)
        return b

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """The left inverses, one after the other."""
        for step in reversed(self.steps):
            x = cast("TallLinear | InjectiveReLU | CouplingFlow", step).inverse(x)
        return x
