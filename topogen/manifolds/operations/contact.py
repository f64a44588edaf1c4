"""The relative position of two manifolds, found from points of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..base import Manifold
from ..locate import gap
from .intersection import Intersection, TransversalityError


@dataclass(frozen=True)
class Contact:
    """The relative position of two manifolds of one dimension.

    Attributes:
        kind: "apart"; "crossing" (at an angle, in `crossing`); "overlapping" (in a set of full
            dimension); "touching" (close, in a way that is not resolved).
        gap: the least distance found; 0 where they meet.
        shares: of the points of each that the other contains.
        crossing: what they share, where they cross.
    """

    kind: Literal["apart", "crossing", "overlapping", "touching"]
    gap: float
    shares: tuple[float, float] = (0.0, 0.0)
    crossing: Intersection | None = None


def find_contact(
    A: Manifold,
    B: Manifold,
    x: Float[Tensor, "n D"],
    y: Float[Tensor, "m D"],
    *,
    atol: float,
    points: Float[Tensor, "p D"] | None = None,
    seed: int = 0,
) -> Contact:
    """The relative position of A and B, of one dimension.

    Args:
        A: the first manifold.
        B: the second.
        x: points that spread over A.
        y: points that spread over B.
        atol: distance at which a point of one is a point of the other.
        points: points near both, to search for common points from.
        seed: of that search.
    """
    shares = (1.0, 1.0) if A is B else (_share(x, B, atol), _share(y, A, atol))
    if max(shares) > 0:  # no sample has a point where sets only cross
        return Contact("overlapping", 0.0, shares)
    if A.ambient_dim <= 2 * A.dim:
        try:
            return Contact("crossing", 0.0, crossing=Intersection(A, B, points=points, seed=seed))
        except TransversalityError as error:
            if error.gap == 0:
                return Contact("touching", 0.0)
    with torch.no_grad():
        least, converged = gap(A, B, x, y)
    apart = converged and math.isfinite(least) and least > 1e-6 * max(A.scale, B.scale)
    return Contact("apart" if apart else "touching", least)


def _share(x: Tensor, M: Manifold, atol: float) -> float:
    with torch.no_grad():
        shared = (M.residual(x) <= atol) & M.in_domain(x)
    return float(shared.double().mean()) if shared.numel() else 0.0
