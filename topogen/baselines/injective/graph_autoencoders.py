"""Hypersurfaces with a volume in closed form: over a sphere around a point, and over a plane."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ... import calculus
from ...errors import UnsupportedError
from ...models.injective.bases import Base
from ...models.injective.bases.harmonic_factors import RealLine, UnitSphere
from ...models.nn.mlp import MLP
from .autoencoder import Autoencoder


def star_log_volume(
    log_r: calculus.RowMap, n: Float[Tensor, "*batch D"], E: Float[Tensor, "*batch D d"]
) -> Float[Tensor, "*batch"]:
    r"""The log volume :math:`d \log r + \tfrac12 \log(1 + |\nabla_S \log r|^2)` of x = r(n) n.

    As :math:`J^\top J = r^2 (I + \nabla\log r\, \nabla\log r^\top)`, n on the unit sphere S^d.

    Args:
        log_r: row-wise, (..., D) to (...).
        n: unit vectors.
        E: orthonormal tangents of the sphere there.
    """
    value, slope = calculus.value_and_jacobian(
        lambda v: log_r(n + (E @ v.unsqueeze(-1)).squeeze(-1)).unsqueeze(-1),
        n.new_zeros(E.shape[:-2] + E.shape[-1:]),
    )
    return E.shape[-1] * value[..., 0] + 0.5 * torch.log1p(slope.square().sum((-2, -1)))


class StarAutoencoder(Autoencoder):
    r"""A star-like hypersurface :math:`g(n) = r(n)\, n`, with the encoder x / |x|, which is exact.

    L. Negri, M. Aellen, V. Roth, Injective flows for star-like manifolds (2025),
    https://arxiv.org/abs/2406.09116. There M is given; here log r is a perceptron that is fitted.

    Args:
        base: S^(D-1); UnsupportedError for another.
        ambient_dim: D.
        width: units of a hidden layer of log r.
        depth: hidden layers.
    """

    def __init__(self, base: Base, ambient_dim: int, *, width: int, depth: int) -> None:
        super().__init__()
        if base.factors != (UnitSphere(ambient_dim - 1),) or len(base.group) > 1:
            raise UnsupportedError(
                f"expected the base S^{ambient_dim - 1} for NetworkOptions('star') in "
                f"R^{ambient_dim}, got {base.name}; pass base='sphere' and dim={ambient_dim - 1}"
            )
        self.base, self.ambient_dim = base, ambient_dim
        self.width, self.depth = width, depth
        self.log_r = MLP(ambient_dim, 1, width=width, depth=depth, last=0.1)

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights; r is near 1."""
        self.log_r.start(generator)

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """r(b) b."""
        return self.log_r(b).exp() * b

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """X itself, which is retracted."""
        return x

    def log_volume(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """In closed form; see :func:`star_log_volume`."""
        return star_log_volume(lambda n: self.log_r(n)[..., 0], b, self.base.frame(b))


class GraphAutoencoder(Autoencoder):
    r"""A graph :math:`g(u) = (u, h(u))` over R^d, with the encoder that drops h.

    :math:`J^\top J = I + h'^\top h'`; for D = d + 1 the log volume is
    :math:`\tfrac12 \log(1 + |\nabla h|^2)`.

    Args:
        base: R^d; UnsupportedError for another.
        ambient_dim: D.
        width: units of a hidden layer of h.
        depth: hidden layers.
    """

    def __init__(self, base: Base, ambient_dim: int, *, width: int, depth: int) -> None:
        super().__init__()
        if any(f != RealLine() for f in base.factors) or base.dim >= ambient_dim:
            raise UnsupportedError(
                f"expected a base R^d with d < {ambient_dim} for NetworkOptions('graph'), got "
                f"{base.name}; pass base='euclidean'"
            )
        self.base, self.ambient_dim = base, ambient_dim
        self.width, self.depth = width, depth
        self.h = MLP(base.dim, ambient_dim - base.dim, width=width, depth=depth)

    def start(self, generator: torch.Generator) -> None:
        """Draw the first weights."""
        self.h.start(generator)

    def forward(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch D"]:
        """(u, h(u))."""
        return torch.cat([b, self.h(b)], -1)

    def raw(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch w"]:
        """The first d coordinates."""
        return x[..., : self.base.dim]

    def log_volume(self, b: Float[Tensor, "*batch w"]) -> Float[Tensor, "*batch"]:
        """In closed form where D = d + 1."""
        if self.ambient_dim > self.base.dim + 1:
            return calculus.log_gram(self.value_and_jacobian(b)[1])
        slope = calculus.jacobian(self.h, b)
        return 0.5 * torch.log1p(slope.square().sum((-2, -1)))
