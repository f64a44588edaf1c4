r"""Independent points of a density on charts, by rejection under a bound for every cell of a grid.

With :math:`\rho_k` the partition of unity, the density e^f w.r.t. H^d has the mass
:math:`\int_{U_k} \rho_k e^{f \circ \psi_k} \sqrt{\det G_k}\, dz` in chart k. A cell of the
charts' grids is chosen in proportion to a bound on its mass; a uniform point of it is accepted in
proportion to the density there over that bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import AtlasError, UnsupportedError
from .boundary_cells import cell_index, widen
from .charts import Chart
from .integration import CHUNK, DomainTest, Quadrature, quadrature, weighted_volume

# nodes of the coarser of the first two levels, all charts together, by dimension; 12 000 above
_START = {1: 400, 2: 4000}
# a cell's bound is the largest value at its node and the nodes next to it, times this
_SLACK = 1.25


def start(dim: int, charts: int) -> int:
    """Nodes per axis of every chart on the coarser of the first two levels of a distribution."""
    whole = _START.get(dim, 12_000)
    return max(6, round((whole / charts) ** (1 / dim)))


def draw_until(
    n: int, propose: Callable[[int], Tensor | None], reason: str, rounds: int = 2000
) -> Tensor:
    """The first n rows of what `propose` gives.

    Args:
        n: how many, at least 0.
        propose: takes the number missing to rows, or to None: all before are dropped.
        reason: what is wrong where these are too few.
        rounds: most calls.

    Raises:
        ValueError: n < 0.
        UnsupportedError: so many calls do not find n.
    """
    if n < 0:
        raise ValueError(f"expected n >= 0, got {n}")
    parts: list[Tensor] = []
    for _ in range(rounds):
        part = propose(n - sum(map(len, parts)))
        parts = [] if part is None else [*parts, part]
        if parts and sum(map(len, parts)) >= n:
            return torch.cat(parts)[:n]
    raise UnsupportedError(f"expected {n} points, got {sum(map(len, parts))}: {reason}")


@dataclass(frozen=True)
class Draw:
    """Points drawn by rejection, and what it took.

    Attributes:
        points: shape (n, D).
        proposed: proposals under the final bounds.
        raised: how often a bound proved too small: it was raised, and the draw began again.
    """

    points: Float[Tensor, "n D"]
    proposed: int
    raised: int


class RejectionGrid:
    """A sampler of the density e^f, which is normalised up to the error of quadrature.

    A value above its bound raises the bound, for later draws too, and starts the draw again.

    Args:
        charts: all of them.
        nodes: of the midpoint rule on these charts.
        per_axis: how many there are per axis.
        log_density: f, points (n, D) to values (n,).
        in_domain: that of M; draws outside are rejected.

    Attributes:
        bounds: for every chart and cell, a bound on the mass in it.
    """

    bounds: Float[Tensor, "K N"]

    def __init__(
        self,
        charts: Sequence[Chart],
        nodes: Quadrature,
        per_axis: int,
        log_density: Callable[[Tensor], Tensor],
        in_domain: DomainTest | None = None,
    ) -> None:
        self.charts, self.per_axis, self.log_density = charts, per_axis, log_density
        self.in_domain, self.dim = in_domain, charts[0].dim
        mass = (nodes.weights.log() + log_density(nodes.points)).exp().to("cpu", torch.float64)
        grid = mass.new_zeros(len(charts), per_axis**self.dim)
        for k, chart in enumerate(charts):
            mine = nodes.chart == k
            cell = cell_index(chart.domain, nodes.latent[mine], per_axis)
            grid[k, cell.cpu()] = mass[mine.cpu()]
        self.bounds = _SLACK * widen(grid, per_axis, self.dim)

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator | None, restarts: int = 50) -> Draw:
        """Draw n independent points.

        Raises:
            UnsupportedError: bounds went on being exceeded, or next to nothing is accepted.
        """
        for raised in range(restarts):
            points, proposed = self._rejection(n, generator)
            if points is not None:
                return Draw(points, proposed, raised)
        raise UnsupportedError(
            f"expected a density that cells of {self.per_axis} per axis resolve, but its "
            f"bounds were exceeded {restarts} times; pass a larger per_axis"
        )

    def _rejection(self, n: int, generator: torch.Generator | None) -> tuple[Tensor | None, int]:
        """Draw n points under the bounds; None after a bound was raised."""
        bounds = self.bounds.flatten()
        expected = 1 / float(bounds.sum())  # the masses of all cells add up to 1
        if expected < 1e-3:
            raise UnsupportedError(
                f"expected bounds that accept a share 0.001 of the proposals, got {expected:.1e}: "
                "the density has peaks narrower than a cell; pass a larger per_axis"
            )
        accepted: list[Tensor] = []
        count = proposed = 0
        while count < n or not accepted:
            m = min(CHUNK, int(1.1 * (n - count) / expected) + 64)
            proposed += m
            cell = torch.multinomial(bounds, m, replacement=True, generator=generator)
            u = torch.rand(m, self.dim + 1, generator=generator, dtype=torch.float64)
            x, mass = self._at(cell, u[:, 1:])
            limit = bounds[cell]
            over = mass > limit
            if bool(over.any()):
                larger = bounds.scatter_reduce(0, cell[over], _SLACK * mass[over], reduce="amax")
                self.bounds = larger.reshape(self.bounds.shape)
                return None, proposed
            accepted.append(x[u[:, 0] * limit < mass])
            count += accepted[-1].shape[0]
        # in the order of the proposals: cutting the tail is then no bias
        return torch.cat(accepted)[:n], proposed

    def _at(self, cell: Int[Tensor, " m"], u: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
        """Points at places u in [0, 1)^d of cells, and the density's share as in the bounds."""
        n, d = self.per_axis, self.dim
        x, mass = u.new_zeros(len(u), self.charts[0].ambient_dim), u.new_zeros(len(u))
        owner, *place = torch.unravel_index(cell, (len(self.charts), *[n] * d))
        index = torch.stack(place, -1)
        for k in owner.unique().tolist():
            mine = (owner == k).nonzero().squeeze(-1)
            domain = self.charts[k].domain
            low, high = domain.bounding_box()
            step = (high - low) / n
            z = low + step * (index[mine] + u[mine]).to(low)
            inside = domain.contains(z)
            mine, z = mine[inside.cpu()], z[inside]
            y, density, _ = weighted_volume(self.charts, k, z, self.in_domain)
            found = density > 0
            mine, y, density = mine[found.cpu()], y[found].to(x), density[found].to(mass)
            x[mine], mass[mine] = y, density * float(step.prod()) * self.log_density(y).exp()
        return x, mass


@torch.no_grad()
def sample_uniform(
    charts: Sequence[Chart],
    n: int,
    generator: torch.Generator | None,
    in_domain: DomainTest | None = None,
    *,
    finite: float = 0.05,
    max_nodes: int = 200_000,
) -> Float[Tensor, "n D"]:
    """See :meth:`Atlas.sample_uniform`; levels of a `finite` volume differ by less."""
    d, K = charts[0].dim, len(charts)
    per_axis = start(d, K)
    volume = float(quadrature(charts, per_axis, in_domain).weights.sum())
    while True:
        per_axis, before = math.ceil(1.5 * per_axis), volume
        nodes = quadrature(charts, per_axis, in_domain)
        volume = float(nodes.weights.sum())
        converged = abs(volume - before) <= finite * volume
        if converged or K * math.ceil(1.5 * per_axis) ** d > max_nodes:
            break
    if not volume > 0:
        raise AtlasError("expected an atlas of positive volume, but every chart has volume 0")
    # in higher dimensions the grids are too coarse to decide
    if not converged and d <= 3:
        raise UnsupportedError(
            f"expected a bounded area element, but the volume goes from {before:.3g} to "
            f"{volume:.3g} as {per_axis} nodes per axis are taken; it may be infinite: use charts "
            "with smaller domains"
        )
    cells = RejectionGrid(
        charts, nodes, per_axis, lambda x: x.new_full(x.shape[:1], -math.log(volume)), in_domain
    )
    return cells.draw(n, generator).points
