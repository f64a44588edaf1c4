"""Points of a manifold, of no particular distribution, and how close two manifolds come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .base import Manifold


def of_part(values: Sequence[Tensor], k: Int[Tensor, "*batch"]) -> Tensor:
    """The value of part k of each row, from those of all parts."""
    result = values[0]
    trailing = (...,) + (None,) * (result.ndim - k.ndim)
    for i, value in enumerate(values[1:], 1):
        result = torch.where((k == i)[trailing], value, result)
    return result


def some_points(
    M: Manifold,
    n: int,
    generator: torch.Generator,
    near: Float[Tensor, "p D"] | None = None,
    *,
    rounds: int = 3,
    most: int = 1024,
) -> Float[Tensor, "m D"]:
    """About n points of M that spread over it, of no particular distribution, or fewer.

    They are its `rough_points`, if it has some; else projections of Gaussian vectors, first of
    length `scale` around 0, then around the centre of what was found.

    Args:
        M: the manifold.
        n: how many to try.
        generator: source of randomness.
        near: points near M, projected too.
        rounds: how often the centre moves.
        most: vectors that are projected at most, in all rounds.
    """
    parts = [] if near is None else [arrived(M, near.to(torch.float64))]
    drawn = M.rough_points(n, generator)
    if drawn is not None:
        return torch.cat([drawn, *parts])
    D, each = M.ambient_dim, math.ceil(min(n, most) / rounds)
    centre = torch.zeros(D, dtype=torch.float64)
    for _ in range(rounds):
        if parts and len(parts[-1]):
            centre = parts[-1].mean(0)
        noise = torch.randn(each, D, generator=generator, dtype=torch.float64)
        parts.append(arrived(M, centre + noise * (1.5 * M.scale / math.sqrt(D))))
    return torch.cat(parts)


def arrived(M: Manifold, x: Float[Tensor, "n D"]) -> Float[Tensor, "m D"]:
    """Where the points project to, of those that arrive inside the domain of validity."""
    with torch.no_grad():
        p = M.project(x)
        return p.value[p.converged & M.in_domain(p.value)]


def distinct(x: Float[Tensor, "n D"], atol: float) -> Float[Tensor, "m D"]:
    """The rows with no earlier row within `atol`."""
    same = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") <= atol
    return x[~same.tril(-1).any(-1)]


def gap(
    A: Manifold,
    B: Manifold,
    x: Float[Tensor, "n D"],
    y: Float[Tensor, "m D"],
    *,
    closest: int = 16,
    rounds: int = 100,
) -> tuple[float, bool]:
    """An upper bound on the distance of A and B, and whether it has stopped to fall.

    Alternating projections, at most `rounds`, from the `closest` of the points y of B to points x
    of A; they slow down where A and B touch. Infinite where no projection arrives.
    """
    if not (x.shape[0] and y.shape[0]):
        return math.inf, False
    y = y[torch.cdist(x, y).min(0).values.argsort()[:closest]]
    least = math.inf
    for _ in range(rounds):
        p = A.project(y)
        q = B.project(p.value)
        x, y, found = p.value, q.value, p.converged & q.converged
        if not bool(found.any()):
            return least, False
        new = float((x - y).norm(dim=-1)[found].min())
        if new > (1 - 1e-3) * least:
            return min(new, least), True
        least = new
    return least, False


def one_space(parts: tuple[Manifold, ...]) -> int:
    """The dimension D of the space of all parts; a ValueError without two parts in one space."""
    wrong = [type(M).__name__ for M in parts if not isinstance(M, Manifold)]
    if wrong or len(parts) < 2:
        got = wrong[0] if wrong else len(parts)
        raise ValueError(f"expected two manifolds or more, got {got}; pass A, B")
    dims = [M.ambient_dim for M in parts]
    if len(set(dims)) > 1:
        raise ValueError(
            f"expected manifolds in one R^D, got {', '.join(f'R^{D}' for D in dims)}; embed them"
        )
    return dims[0]
