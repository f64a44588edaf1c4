"""Monomials of several variables up to a total degree, and their derivatives."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import torch
from jaxtyping import Float
from torch import Tensor


def monomials(u: Float[Tensor, "*batch d"], degree: int) -> Float[Tensor, "*batch p"]:
    """All monomials of u of total degree <= `degree`, the constant 1 first."""
    return torch.stack([*_products(u, degree).values()], dim=-1)


def _products(u: Tensor, degree: int) -> dict[tuple[int, ...], Tensor]:
    """Monomials by the indices of their factors, ascending."""
    known: dict[tuple[int, ...], Tensor] = {(): torch.ones_like(u[..., 0])}
    for q in range(1, degree + 1):
        for powers in combinations_with_replacement(range(u.shape[-1]), q):
            known[powers] = known[powers[:-1]] * u[..., powers[-1]]
    return known


def monomials_along(
    u: Float[Tensor, "*batch d"], v: Float[Tensor, "*batch d m"], degree: int
) -> Float[Tensor, "*batch p m"]:
    """The derivatives of :func:`monomials` at u along the columns of v."""
    known = _products(u, degree)
    along: dict[tuple[int, ...], Tensor] = {(): torch.zeros_like(v[..., 0, :])}
    for powers in [*known][1:]:
        head, i = powers[:-1], powers[-1]
        along[powers] = along[head] * u[..., i, None] + known[head].unsqueeze(-1) * v[..., i, :]
    return torch.stack([*along.values()], dim=-2)


def monomial_count(dim: int, degree: int) -> int:
    """How many monomials of total degree <= `degree` there are in `dim` variables."""
    return math.comb(dim + degree, degree)
