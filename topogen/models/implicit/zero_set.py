r"""The zero set of a network in its own coordinates z: steps onto it, its domain, its boundary."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..boundary import Boundary, boundary_points, directions, in_holes, thinning
from ..nn.mlp import MLP
from ..nn.sine import SineNetwork
from .constant_rank import full_step, leading_step, linearize_leading, project_leading
from .region import ValidityRegion
from .tubular_neighborhood import TUBE, TubularNeighborhood, nearest_projections

_ROWS = 2048  # rows handled at a time


@dataclass(frozen=True)
class ZeroSet:
    """M = {z : F(z) = 0}, or {z : Pi(z) F(z) = 0}, as far as its region and its boundary."""

    net: SineNetwork | MLP  # F
    region: ValidityRegion  # where M is stated, near landmarks on it
    boundary: Boundary  # where it ends
    k: int  # how many equations F(z) = 0 are independent on M
    regular: bool  # whether F has no other equations
    gap: float = 0.4  # s_k > gap > s_(k+1), singular values of DF on M: 1 and 0, had it no error
    rest: float = 0.25  # most of F outside its leading directions, over the width of the region

    def equations(self, z: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch q"]:
        r"""E(z): F(z), or :math:`\Pi(z) F(z)`; differentiable."""
        return self.net(z) if self.regular else project_leading(*self.net.linearize(z), self.k)

    def linearize(
        self, z: Float[Tensor, "n m"]
    ) -> tuple[Float[Tensor, "n q"], Float[Tensor, "n q m"]]:
        """E(z) and DE(z), in closed form."""
        if self.regular:
            return self.net.linearize(z)
        return linearize_leading(*self.net.second(z), self.k)

    def tangents(self, z: Float[Tensor, "n m"]) -> Float[Tensor, "n m d"]:
        """Orthonormal bases of the kernel of DE(z)."""
        parts = []
        for part in z.split(_ROWS):
            DE = self.linearize(part)[1]
            DE = torch.where(DE.isfinite().flatten(-2).all(-1)[:, None, None], DE, 0.0)
            parts.append(torch.linalg.svd(DE, full_matrices=True)[2][..., self.k :, :].mT)
        return torch.cat(parts)

    def solve(
        self, z: Float[Tensor, "n m"]
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, " n"], Bool[Tensor, " n"]]:
        """The Gauss-Newton step, its length, and whether F and DF are as they are near M."""
        F, J = self.net.linearize(z)
        if self.regular:
            return full_step(F, J)
        rest = self.rest * float(self.region.nu.min())
        return leading_step(F, J, self.k, gap=self.gap, rest=rest)

    def evaluate(
        self, z: Float[Tensor, "n m"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n m"]]:
        """The residual at z and where a step goes; outside the region, towards a landmark."""
        residuals, moves = [], []
        for part in z.split(_ROWS):
            near = self.region.near(part)
            step, r, valid = self.solve(part)
            valid = near.inside & valid
            target = self.region.projection(part, near.j)
            residuals.append(torch.where(valid, r, near.distance))
            moves.append(torch.where(valid.unsqueeze(-1), part - _shortened(step, r), target))
        return torch.cat(residuals), torch.cat(moves)

    def in_domain(self, z: Float[Tensor, "n m"]) -> Bool[Tensor, " n"]:
        """Whether z is in the region, with F and DF as they are near M, inside the boundary."""
        parts = [
            self.region.near(part).inside & self.solve(part)[2] & ~self.boundary.outside(part)
            for part in z.split(_ROWS)
        ]
        return torch.cat(parts)

    def zeros(
        self, z: Float[Tensor, "n m"], max_steps: int = 30, tol: float = 1e-9
    ) -> tuple[Float[Tensor, "n m"], Bool[Tensor, " n"]]:
        """Where Gauss-Newton steps end that no domain stops, and whether they arrive."""
        z = z.clone()
        going = torch.arange(z.shape[0])
        found = torch.zeros(z.shape[0], dtype=torch.bool)
        for _ in range(max_steps):
            step, r, _ = self.solve(z[going])
            found[going] = r < tol
            going, step, r = going[r >= tol], step[r >= tol], r[r >= tol]
            if going.numel() == 0:
                break
            z[going] -= _shortened(step, r)
        return z, found

    # -- where M ends -----------------------------------------------------------------------------

    def find_boundary(
        self, geometry: TubularNeighborhood, generator: torch.Generator, closings: int = 3
    ) -> None:
        """Find the boundary: where M leaves its region, once holes are closed.

        In holes, data lie on both sides. Where data thin out M goes on by one ball: fresh points
        lie beyond the last of them.
        """
        region, data = self.region, geometry.p[: geometry.data]
        at, T, j = self._ends(generator)
        more = in_holes(at, T, data) | thinning(at, 2 * region.rho[j], data, T.shape[-1])
        for _ in range(closings):
            if not bool(more.any()):
                break
            region.extend(at[more], T[more], j[more])
            at, T, j = self._ends(generator)
            more = in_holes(at, T, data)
        self.boundary.place(at, T, region.rho[j], data)

    def _ends(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Int[Tensor, " e"]]:
        """Points of M next to the region but outside, tangent bases there, and the landmarks left.

        They are looked for from points a tenth outside the ball of every landmark.
        """
        region = self.region
        u = directions(len(region.c), region.T.shape[-1], generator, region.c.dtype)
        step = (region.T @ u).mT * (1.1 * region.rho[:, None, None])
        j = torch.arange(region.c.shape[0]).repeat_interleave(u.shape[-1])

        def depth(z: Tensor) -> Tensor:
            return torch.cat([region.near(part).depth for part in z.split(_ROWS)])

        at, j = boundary_points(
            (region.c[:, None] + step).flatten(0, 1),
            j,
            0.5 * region.rho,
            near_end=lambda z: depth(z) > 0.8,
            project=self.zeros,
            outside=lambda z: depth(z) >= 1,
        )
        J = self.net.linearize(at)[1]
        return at, torch.linalg.svd(J, full_matrices=True)[2][..., self.k :, :].mT, j

    # -- spurious zeros ---------------------------------------------------------------------------

    def spurious(
        self, geometry: TubularNeighborhood, z: Float[Tensor, "n m"]
    ) -> Float[Tensor, "s m"]:
        r"""Those of the zeros z that are in the domain of validity but away from the projections.

        Farther from the tangent plane at the nearest projection, at a distance a, than a quarter
        of the tube and :math:`a^2 / (2 r)`: M does not bend away by more, r the reach.
        """
        z = z[self.in_domain(z)]
        j, projection, a = nearest_projections(geometry, z)
        tau = geometry.tau[j]
        return z[(z - projection).norm(dim=-1) > 0.25 * tau + TUBE * a.square() / (2 * tau)]

    def spurious_zeros(
        self, geometry: TubularNeighborhood, start: Float[Tensor, "n m"]
    ) -> Float[Tensor, "s m"]:
        """The spurious zeros that steps from the start points end in."""
        z, found = self.zeros(start)
        return self.spurious(geometry, z[found])

    def end_before_spurious_zeros(
        self, geometry: TubularNeighborhood, generator: torch.Generator, times: int = 2
    ) -> None:
        """Narrow the region until random points of it lead to no spurious zeros, or `times`."""
        for _ in range(times):
            wrong = self.spurious_zeros(geometry, self.region.draw(2048, generator))
            if len(wrong) == 0:
                return
            self.region.narrow(wrong)


def _shortened(step: Tensor, length: Tensor, most: float = 0.3) -> Tensor:
    """Steps of at most this length, in units of the rms radius of the data."""
    return step * (most / length.clamp_min(most)).unsqueeze(-1)
