"""Where a learned zero set is stated: flat balls around landmarks on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..base import Fittable
from .tubular_neighborhood import TubularNeighborhood, cover, tangent_point


class Near(NamedTuple):
    """The landmarks that points z are deepest in the balls of."""

    j: Int[Tensor, " n"]  # which
    depth: Float[Tensor, " n"]  # squared distance from z to it, in radii of its ball
    distance: Float[Tensor, " n"]  # from z to it
    normal: Float[Tensor, " n"]  # from z to its tangent plane
    inside: Bool[Tensor, " n"]  # whether z is in the region


class ValidityRegion(Fittable):
    r"""Points z with :math:`|z - c| < \rho` and :math:`|(I - T T^\top)(z - c)| < \nu`.

    c is the landmark with the least :math:`|z - c| / \rho`, T its tangent basis.
    """

    c: Tensor
    T: Tensor
    rho: Tensor
    nu: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.reserve("c", "T", "rho", "nu")

    def place(self, geometry: TubularNeighborhood, generator: torch.Generator) -> None:
        """Choose landmarks among the projections.

        They lie 0.3 tau apart, tau the radius of the tube, with balls of radius 0.7 tau; where the
        projections are sparser, half their spacing apart with balls of that spacing. A ball that
        is wider than the tube is flatter than wide.
        """
        tau, spacing = geometry.tau, geometry.spacing
        rows = cover(geometry.p, torch.maximum(0.3 * tau, 0.5 * spacing), generator)
        self.c, self.T = geometry.p[rows], geometry.T[rows].contiguous()
        self.rho = torch.maximum(0.7 * tau, spacing)[rows]
        self.nu = torch.maximum(0.7 * tau[rows], 0.5 * self.rho)
        self.fitted = True

    def extend(self, c: Float[Tensor, "e m"], T: Float[Tensor, "e m d"], like: Tensor) -> None:
        """More landmarks, each with a ball like that of an old one."""
        self.c, self.T = torch.cat([self.c, c]), torch.cat([self.T, T])
        self.rho = torch.cat([self.rho, self.rho[like]])
        self.nu = torch.cat([self.nu, self.nu[like]])

    def near(self, z: Float[Tensor, "n m"]) -> Near:
        """The landmark of each z, and whether z is in the region."""
        square = z.square().sum(-1, keepdim=True) - 2 * z @ self.c.mT + self.c.square().sum(-1)
        depth, j = (square / self.rho.square()).min(-1)
        chord, T = (z - self.c[j]).unsqueeze(-1), self.T[j]
        normal = (chord - T @ (T.mT @ chord)).flatten(-2).norm(dim=-1)
        inside = (depth < 1) & (normal < self.nu[j])
        return Near(j, depth, chord.flatten(-2).norm(dim=-1), normal, inside)

    def projection(self, z: Float[Tensor, "n m"], j: Int[Tensor, " n"]) -> Float[Tensor, "n m"]:
        """The point below z in the tangent plane of landmark j, at most half its radius away."""
        return tangent_point(z, self.c[j], self.T[j], 0.5 * self.rho[j])

    def draw(self, n: int, generator: torch.Generator | None) -> Float[Tensor, "n m"]:
        """Random points of the balls, of each as many."""
        m = self.c.shape[1]
        j = torch.randint(self.c.shape[0], (n,), generator=generator)
        ball = torch.randn(n, m, generator=generator, dtype=self.c.dtype)
        ball = torch.nn.functional.normalize(ball, dim=-1)
        radius = torch.rand(n, 1, generator=generator, dtype=self.c.dtype).pow(1 / m)
        return self.c[j] + 0.99 * self.rho[j].unsqueeze(-1) * radius * ball

    def narrow(self, z: Float[Tensor, "n m"]) -> None:
        """Flatten all balls, so that they end before these points, but to no less than .6."""
        near = self.near(z)
        self.nu *= max(0.9 * float((near.normal / self.nu[near.j]).min()), 0.6)
