r"""Cells that the boundary of M cuts: a chart, or the domain of validity of M, ends inside U.

The integrand jumps there, and the midpoint rule would be off by up to half a cell all along the
boundary. A cut cell C is divided into m^d parts with one random point z_s in each; its weight is

.. math:: w = \frac{|C|}{m^d} \sum_s g(z_s), \qquad g = 1_M\, \rho_k \sqrt{\det G_k},

and its node is one of the z_s, drawn in proportion to g. That is without bias for any integrand,
the nodes lie on M, and the errors of different cells are independent.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from .charts import Domain

# parts of a cut cell along an axis, by dimension: 16 points or 8 a cell; 1 above
_PARTS = {1: 16, 2: 4, 3: 2}


def cell_index(domain: Domain, z: Float[Tensor, "n d"], per_axis: int) -> Int[Tensor, " n"]:
    """The cell of the grid on the bounding box of U that holds z, the last axis fastest."""
    low, high = domain.bounding_box()
    index = ((z - low) / (high - low) * per_axis).long().clamp(0, per_axis - 1)
    strides = per_axis ** torch.arange(z.shape[-1] - 1, -1, -1, device=z.device)
    return (index * strides).sum(-1)


def widen(values: Float[Tensor, "K N"], per_axis: int, dim: int) -> Float[Tensor, "K N"]:
    """In every cell, the largest value of it and of the cells next to it, corners included."""
    grid = values.reshape(-1, *[per_axis] * dim)
    for axis in range(1, dim + 1):
        row = grid.movedim(axis, -1)
        near = functional.max_pool1d(row.reshape(-1, 1, per_axis), 3, stride=1, padding=1)
        grid = near.reshape(row.shape).movedim(-1, axis)
    return grid.reshape(values.shape)


def cut_cells(
    domain: Domain, z: Float[Tensor, "n d"], inside: Bool[Tensor, " n"], per_axis: int
) -> Bool[Tensor, " n"]:
    """The cells next to one of the other kind, by whether M has a point at their nodes z."""
    d, index = z.shape[-1], cell_index(domain, z, per_axis)
    grid = z.new_zeros(2, per_axis**d)
    grid[:, index] = torch.stack([inside, ~inside]).to(z.dtype)
    near = widen(grid, per_axis, d)[:, index] > 0
    return torch.where(inside, near[1], near[0])


def divide(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]],
    domain: Domain,
    z: Float[Tensor, "c d"],
    per_axis: int,
    generator: torch.Generator,
) -> tuple[
    Float[Tensor, "c D"],
    Float[Tensor, " c"],
    Float[Tensor, "c D d"],
    Float[Tensor, "c d"],
    Float[Tensor, " c"],
]:
    """Divide the cells with midpoints z; `evaluate` gives points, g and frames at latent ones.

    Returns:
        Points, the mean of g in each cell, frames, latent points, and the error of that mean.
    """
    count, d = z.shape
    m = _PARTS.get(d, 1)
    low, high = domain.bounding_box()
    corner = torch.cartesian_prod(*[torch.arange(m)] * d).reshape(-1, d)
    u = torch.rand(count, m**d, d, generator=generator, dtype=torch.float64)
    place = ((corner + u) / m - 0.5).to(z)
    latent = (z.unsqueeze(1) + place * (high - low) / per_axis).flatten(0, 1)
    x, g, Q = evaluate(latent)
    g = g.reshape(count, m**d)
    weight = torch.where(g.sum(-1, keepdim=True) > 0, g, 1.0).to("cpu", torch.float64)
    chosen = torch.multinomial(weight, 1, generator=generator).squeeze(-1).to(z.device)
    row = torch.arange(count, device=z.device) * m**d + chosen
    # one point a cell does not show which cells are cut
    crossed = ((g > 0).any(-1) & (g <= 0).any(-1)) if m > 1 else g.new_ones(count).bool()
    # a boundary crosses about m^(d-1) of the m^d parts; each is off by at most half of its mass
    spread = torch.where(crossed, 0.5 * m ** (-(d + 1) / 2) * g.amax(-1), 0.0)
    return x[row], g.mean(-1), Q[row], latent[row], spread
