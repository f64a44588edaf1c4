"""Where a blend of local graphs leaves its region: edges of the data at which the set ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ..manifolds.base import iterate
from .boundary import directions, in_holes

if TYPE_CHECKING:
    from .local_polynomials import LocalPolynomials

# Where the weights of all landmarks add up to less, M is about to leave the region: at data they
# add up to more.
_OUTSKIRTS = 0.2
# how far graphs are followed, and how far from there M may be, in radii
_RIM, _ASIDE = 0.95, 0.3
_TOL = 1e-6
# an edge of a surface is a curve: places beyond one landmark alone are none
_COMPANY = 2.0


def find_edges(M: LocalPolynomials, y: Float[Tensor, "n D"]) -> None:
    """Look beyond every landmark for places where M ends, and keep those outside the data y."""
    u = directions(len(M.c), M.dim, torch.Generator().manual_seed(0), M.c.dtype)
    k = torch.arange(len(M.c)).repeat_interleave(u.shape[-1])
    rim = M._graph(_RIM * u.mT.flatten(0, 1), k)
    outside = M._total_weight(rim) < _OUTSKIRTS
    rim, k = rim[outside], k[outside]
    found = iterate(M._evaluate, rim, tol=_TOL, max_steps=50)
    at, r = found.value, M.r[k]
    kept = found.converged & ((at - rim).norm(dim=-1) < _ASIDE * r)
    kept &= M._total_weight(at) < _OUTSKIRTS
    at, r, k = at[kept], r[kept], k[kept]
    T = M._frames(at)
    edge = ~in_holes(at, T, y)
    at, T, r, k = at[edge], T[edge], r[edge], k[edge]
    if M.dim > 1:
        beside = ((torch.cdist(at, at) < _COMPANY * r) & (k != k.unsqueeze(1))).any(0)
        at, T, r = at[beside], T[beside], r[beside]
    M.edges.keep(at, T, r, y)
