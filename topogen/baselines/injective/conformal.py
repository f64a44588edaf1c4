r"""Conformal embeddings: :math:`J^\top J = \lambda^2 I`, so the log volume is d log lambda."""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from ...models.injective.bases import Base
from .autoencoder import Autoencoder, require_flat


def special_conformal(
    x: Float[Tensor, "*batch m"], a: Float[Tensor, " m"]
) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch"]]:
    r"""The special conformal map, and the log of its factor :math:`\lambda = 1 / D`.

    .. math:: y = (x - a |x|^2) / D, \qquad D = 1 - 2 a \cdot x + |a|^2 |x|^2, \qquad
              J^\top J = D^{-2} I

    The inverse has -a for a. D is 0 at :math:`a / |a|^2`, which goes to infinity.

    Example:
        >>> x, a = torch.tensor([[0.5, 1.0]]), torch.tensor([0.2, 0.1])
        >>> y, log_scale = special_conformal(x, a)
        >>> back, inverse = special_conformal(y, -a)
        >>> bool((back - x).abs().max() < 1e-6), bool((log_scale + inverse).abs().max() < 1e-6)
        (True, True)
    """
    square = x.square().sum(-1)
    D = 1 - 2 * (x @ a) + a.square().sum() * square
    return (x - a * square.unsqueeze(-1)) / D.unsqueeze(-1), -D.log()


def inverse_stereographic(
    u: Float[Tensor, "*batch d"],
) -> tuple[Float[Tensor, "*batch m"], Float[Tensor, "*batch"]]:
    r"""R^d onto the sphere S^d less its top, and log lambda, :math:`\lambda = 2 / (1 + |u|^2)`.

    Example:
        >>> x, log_scale = inverse_stereographic(torch.zeros(1, 2))
        >>> x, round(float(log_scale), 4)
        (tensor([[ 0.,  0., -1.]]), 0.6931)
    """
    square = u.square().sum(-1, keepdim=True)
    x = torch.cat([2 * u, square - 1], -1) / (1 + square)
    return x, (2 / (1 + square)).log().squeeze(-1)


class ConformalLayer(nn.Module):
    r""":math:`x \mapsto e^s Q\, \sigma_a(x) + c`, Q a rotation, sigma_a special conformal."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.zeros(()).double())
        self.c = nn.Parameter(torch.zeros(dim).double())
        self.a = nn.Parameter(torch.zeros(dim).double())
        self.A = nn.Parameter(torch.zeros(dim, dim).double())

    @torch.no_grad()
    def start(self, generator: torch.Generator) -> None:
        """Draw a rotation and a small special conformal map."""
        self.s.zero_()
        self.A.copy_(torch.randn(self.A.shape, generator=generator))
        self.a.copy_(0.1 * torch.randn(self.a.shape, generator=generator))
        self.c.copy_(0.1 * torch.randn(self.c.shape, generator=generator))

    def rotation(self) -> Tensor:
        r"""Q, the exponential of the skew-symmetric :math:`A - A^\top`."""
        return torch.linalg.matrix_exp(self.A - self.A.mT)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The image, and log lambda."""
        y, log_scale = special_conformal(x, self.a)
        return self.s.exp() * y @ self.rotation().mT + self.c, log_scale + self.s

    def inverse(self, y: Tensor) -> Tensor:
        """The x with this image."""
        z = (y - self.c) @ self.rotation() * (-self.s).exp()
        return special_conformal(z, -self.a)[0]


class ConformalAutoencoder(Autoencoder):
    r""":math:`g(b) = c_L \circ \dots \circ c_1([b, 0])`, a chain of Moebius maps of R^D.

    On B, :math:`J^\top J = \lambda^2 I` with lambda the product of the factors: the log volume is
    :math:`d \log\lambda`. By Liouville's theorem there are no other conformal maps of R^D for D >
    2: M is a part of a sphere or plane of dimension w.

    B. Ross and J. Cresswell, Tractable density estimation on learned manifolds with conformal
    embedding flows (2021), https://arxiv.org/abs/2106.05275; no piecewise layers.

    Args:
        base: B, no quotient, in at most D numbers; else UnsupportedError.
        ambient_dim: D.
        layers: L.
    """

    def __init__(self, base: Base, ambient_dim: int, *, layers: int) -> None:
        super().__init__()
        require_flat(base, "conformal", ambient_dim)
        self.base, self.ambient_dim = base, ambient_dim
        self.layers = nn.ModuleList(ConformalLayer(ambient_dim) for _ in range(layers))

    def arguments(self) -> dict[str, Any]:
        """See :class:`~topogen.storable.Storable`."""
        return super().arguments() | {"layers": len(self.layers)}

    def start(self, generator: torch.Generator) -> None:
        """Draw the first maps."""
        for layer in self.layers:
            cast("ConformalLayer", layer).start(generator)

    def value_and_log_scale(
        self, b: Float[Tensor, "*batch w"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        """g(b) and log lambda(b)."""
        x = pad(b, (0, self.ambient_dim - b.shape[-1]))
        total = x.new_zeros(x.shape[:-1])
        for layer in self.layers:
            x, log_scale = layer(x)
            total = total + log_scale
        return x, total

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """g(b)."""
        return self.value_and_log_scale(b)[0]

    def log_volume(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """The product of the factors, exact."""
        return self.base.dim * self.value_and_log_scale(b)[1]

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """The first numbers of the inverse."""
        for layer in reversed(self.layers):
            x = cast("ConformalLayer", layer).inverse(x)
        return x[..., : self.base.width]
