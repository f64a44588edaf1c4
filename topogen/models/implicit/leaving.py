"""Where a learned zero set leaves its region: holes to be closed, edges at which it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..boundary import directions, in_holes
from .tubular_neighborhood import TubularNeighborhood
from .zero_set_checks import zeros

if TYPE_CHECKING:
    from .neural_implicit import LearnedZeroSet

# how far tangent directions are followed from every landmark, in radii of its ball
_BEYOND = 1.1
_OUTSKIRTS = 0.8
# so many times the holes that are found are closed
_CLOSINGS = 3
_ROWS = 2048


def find_edges(
    M: LearnedZeroSet, geometry: TubularNeighborhood, generator: torch.Generator
) -> None:
    """Find where M leaves its region, close the holes among these places, keep the edges."""
    region, p = M.region, geometry.p[: geometry.data]
    at, T, j = leaving(M, generator)
    for _ in range(_CLOSINGS):
        hole = in_holes(at, T, p)
        if not bool(hole.any()):
            break
        region.extend(at[hole], T[hole], j[hole])
        at, T, j = leaving(M, generator)
    M.boundary.place(at, T, region.rho[j], p)


def leaving(M: LearnedZeroSet, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points of M next to its region but outside, tangent bases there, and the landmarks left."""
    region = M.region
    u = directions(region.c.shape[0], M.dim, generator, region.c.dtype)
    step = (region.T @ u).mT * (_BEYOND * region.rho[:, None, None])
    start = (region.c[:, None] + step).flatten(0, 1)
    j = torch.arange(region.c.shape[0]).repeat_interleave(u.shape[-1])

    def depth(z: Tensor) -> Tensor:
        return torch.cat([region.near(part).depth for part in z.split(_ROWS)])

    # most lie in the balls of other landmarks
    outskirts = depth(start) > _OUTSKIRTS
    start, j = start[outskirts], j[outskirts]
    z, found = zeros(M, start)
    found &= (z - start).norm(dim=-1) < 0.5 * region.rho[j]
    found &= depth(z) >= 1
    J = M.net.linearize(z[found])[1]
    T = torch.linalg.svd(J, full_matrices=True)[2][..., M._k :, :].mT
    return z[found], T, j[found]
