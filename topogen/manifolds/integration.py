r"""Integrals over M by a partition of unity, from nothing but charts.

With charts :math:`\psi_k: U_k \to M`, :math:`G_k = J_k^\top J_k` and a partition of unity rho_k,

.. math:: \int_M f\, dH^d = \sum_k \int_{U_k} \rho_k f(\psi_k(z)) \sqrt{\det G_k(z)}\, dz.

Integrands vanish with all derivatives at the boundary of U_k, so the midpoint rule converges
faster than any power of the number of nodes. Where M ends inside U_k, see :mod:`.boundary_cells`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import calculus
from ..errors import AtlasError, UnsupportedError
from . import boundary_cells
from .charts import Chart

# whether points lie in the region in which M is stated; None where that is everywhere
DomainTest = Callable[[Tensor], Tensor]

# nodes per axis of the coarser level, by dimension, 10 above
_START = {1: 96, 2: 48, 3: 20}
CHUNK = 32_768  # rows handled at a time
# of the bump exp(-s / depth): the area of a sphere from two charts of 48 nodes per axis is off by
# 1e-7; with a bump that is flat on half of its chart, by 1e-4
_STEEPNESS = 3.0


class Quadrature(NamedTuple):
    r"""Nodes and weights of an atlas: :math:`\int_M f\, dH^d \approx \sum_i w_i f(x_i)`.

    Attributes:
        points: x_i, shape (N, D).
        weights: :math:`\rho_k(x_i) \sqrt{\det G_k(z_i)}` times the volume of a cell, shape (N,).
        chart: the index k of the chart of each node, shape (N,).
        latent: z_i in U_k, shape (N, d).
        frame: orthonormal basis of the tangent space of M at x_i, shape (N, D, d).
        spread: standard deviation of w_i, independent of one another: 0 but at the boundary of M.
    """

    points: Float[Tensor, "N D"]
    weights: Float[Tensor, " N"]
    chart: Int[Tensor, " N"]
    latent: Float[Tensor, "N d"]
    frame: Float[Tensor, "N D d"]
    spread: Float[Tensor, " N"]


@dataclass(frozen=True)
class Integral:
    """The value of an integral and an estimate of its error.

    Attributes:
        value: shape () or (m,).
        error: the difference between two levels of quadrature, and two standard deviations of
            what cells at the boundary of M add, of the same shape; it bounds the error of `value`
            wherever the finer level is closer to the limit than the coarser one.
    """

    value: Float[Tensor, "*m"]
    error: Float[Tensor, "*m"]

    def __float__(self) -> float:
        return float(self.value)


def log_bump(depth: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The logarithm of the bump exp(-3 / depth), a C-infinity function; -inf where depth <= 0."""
    inside = depth > 0
    # clamped: the derivative 3 / depth^2 must not overflow in float32
    safe = torch.where(inside, depth.clamp_min(1e-12), 1.0)
    return torch.where(inside, -_STEEPNESS / safe, -math.inf)


def log_bumps(charts: Sequence[Chart], x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch K"]:
    """:func:`log_bump` of the depth of phi_k(x) in every chart; -inf outside the chart."""
    return torch.stack([log_bump(located(chart, x)[1]) for chart in charts], dim=-1)


def located(chart: Chart, x: Float[Tensor, "*batch D"]) -> tuple[Tensor, Tensor]:
    """The coordinates phi(x), NaN outside the image of the chart, and their depth, 0 there."""
    z = chart.encode(x)
    inside = ~z.isnan().any(-1)
    safe = torch.where(inside.unsqueeze(-1), z, chart.domain.centre().to(z))
    return z, torch.where(inside, chart.domain.depth(safe).to(x.dtype), 0.0)


def weighted_volume(
    charts: Sequence[Chart], k: int, z: Float[Tensor, "n d"], in_domain: DomainTest | None = None
) -> tuple[Float[Tensor, "n D"], Float[Tensor, " n"], Float[Tensor, "n D d"]]:
    r"""Give x = psi_k(z), :math:`\rho_k(x) \sqrt{\det G_k(z)}` (0 where x is NaN), and a frame.

    Outside the domain of validity x is NaN.
    """
    x, J = charts[k].value_and_jacobian(z)
    if in_domain is not None:
        known = ~x.isnan().any(-1)
        stated = known.index_put((known,), in_domain(x[known]))
        x = torch.where(stated.unsqueeze(-1), x, math.nan)
    own = log_bump(charts[k].domain.depth(z))
    found = ~x.isnan().any(-1) & own.isfinite()
    density = torch.zeros_like(own)
    if bool(found.any()):
        y, total = x[found], own[found]
        for j, chart in enumerate(charts):
            rows = chart.may_contain(y).nonzero().squeeze(-1)
            if j != k and rows.numel():
                other = log_bumps([chart], y[rows]).squeeze(-1).to(total)
                total = total.index_put((rows,), torch.logaddexp(total[rows], other))
        Q, R = calculus.orthonormalize(J[found])
        log_volume = R.log().sum(-1).to(own.dtype)
        density = density.index_put((found,), (own[found] - total + log_volume).exp())
        J = J.index_put((found,), Q)
    return x, density, J


def nodes(
    charts: Sequence[Chart], per_axis: int, in_domain: DomainTest | None = None
) -> Iterator[Quadrature]:
    """The nodes of the midpoint rule, in chunks; those of weight 0 are left out."""
    generator = torch.Generator().manual_seed(per_axis)  # of the nodes at boundaries
    for k, chart in enumerate(charts):
        grid, cell = chart.domain.grid(per_axis)

        def evaluate(z: Tensor, k: int = k) -> tuple[Tensor, Tensor, Tensor]:
            parts = [weighted_volume(charts, k, part, in_domain) for part in z.split(CHUNK)]
            x, density, Q = (torch.cat(column) for column in zip(*parts, strict=True))
            return x, density, Q

        with torch.no_grad():  # not around the yield: the integrand keeps its gradients
            x, density, Q = evaluate(grid)
            inside, spread = ~x.isnan().any(-1), torch.zeros_like(density)
            if bool(inside.any()) and not bool(inside.all()):
                cut = boundary_cells.cut_cells(chart.domain, grid, inside, per_axis)
                new = boundary_cells.divide(evaluate, chart.domain, grid[cut], per_axis, generator)
                pairs = zip((x, density, Q, grid, spread), new, strict=True)
                x, density, Q, grid, spread = (a.index_put((cut,), b) for a, b in pairs)
        found = (density != 0).nonzero().squeeze(-1)  # NaN among them: it must be seen
        for rows in found.split(CHUNK):
            label = torch.full(rows.shape, k, device=rows.device)
            w, s = density[rows] * cell, spread[rows] * cell
            yield Quadrature(x[rows], w, label, grid[rows], Q[rows], s)


def quadrature(
    charts: Sequence[Chart], per_axis: int, in_domain: DomainTest | None = None
) -> Quadrature:
    """All of :func:`nodes` at once."""
    if per_axis < 1:
        raise ValueError(f"expected per_axis >= 1, got {per_axis}")
    parts = list(nodes(charts, per_axis, in_domain))
    return Quadrature(*(torch.cat(column) for column in zip(*parts, strict=True)))


def integrate(
    charts: Sequence[Chart],
    f: Callable[[Tensor], Tensor],
    tol: float | None,
    per_axis: int | None,
    max_nodes: int,
    in_domain: DomainTest | None = None,
) -> Integral:
    """See :meth:`Atlas.integrate`."""
    if tol is not None and not tol > 0:
        raise ValueError(f"expected tol > 0 (relative to the integral of |f|), got {tol}")
    d, K = charts[0].dim, len(charts)
    if per_axis is not None and per_axis < 1:
        raise ValueError(f"expected per_axis >= 1, got {per_axis}")
    coarse = _START.get(d, 10) if per_axis is None else per_axis
    fine = math.ceil(1.5 * coarse)
    if K * fine**d > max_nodes:
        raise UnsupportedError(
            f"expected at most max_nodes={max_nodes:.1e} nodes, but quadrature in dimension {d} "
            f"with {K} charts starts with {K * fine**d:.1e}; raise max_nodes, or average f over "
            "sample_uniform"
        )
    old, _, _ = _level(charts, f, coarse, in_domain)
    while True:
        new, size, spread = _level(charts, f, fine, in_domain)
        error = (new - old).abs().detach() + torch.finfo(size.dtype).eps * size + 2 * spread
        coarse, fine = fine, math.ceil(1.5 * fine)
        # not (error > ...): NaN ends the refinement as well
        enough = tol is None or not bool((error > tol * size).any())
        if enough or K * fine**d > max_nodes:
            return Integral(new, error)
        old = new


def _level(
    charts: Sequence[Chart],
    f: Callable[[Tensor], Tensor],
    per_axis: int,
    in_domain: DomainTest | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The integrals of f and of |f| on one level, and the standard deviation from boundaries."""
    sums: list[Tensor] = []
    for part in nodes(charts, per_axis, in_domain):
        n = part.weights.shape[0]
        if n == 0:
            continue
        values = f(part.points)
        if not isinstance(values, Tensor) or values.ndim not in (1, 2) or values.shape[0] != n:
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"expected f to take points (n, D) to values (n,) or (n, m), got {got} for n = {n}"
            )
        values = values.to(part.weights.dtype)
        size = values.detach().abs()
        new = [part.weights @ values, part.weights @ size, part.spread.square() @ size.square()]
        sums = [a + b for a, b in zip(sums, new, strict=True)] if sums else new
    if not sums:
        raise AtlasError(
            "expected charts with points in their domains, but no chart decodes any node of its "
            "grid; check decode with topogen.testing.check_chart"
        )
    return sums[0], sums[1], sums[2].sqrt()
