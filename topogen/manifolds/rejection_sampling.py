r"""Independent points of a density on charts, by rejection under a bound for every cell of a grid.

With :math:`\rho_k` the partition of unity, the density e^f w.r.t. H^d has the mass
:math:`\int_{U_k} \rho_k e^{f \circ \psi_k} \sqrt{\det G_k}\, dz` in chart k. A cell of the
charts' grids is chosen in proportion to a bound on its mass; a uniform point of it is kept in
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
from .integration import CHUNK, Guard, Quadrature, quadrature, weighted_volume

# nodes of the coarser of the first two levels, all charts together, by dimension
_START = {1: 400, 2: 4000}
_START_ABOVE = 12_000
_LEAST_PER_AXIS = 6
# a cell's bound is the largest value at its node and the nodes next to it, times this
_SLACK = 1.25
_MAX_RESTARTS = 50
_MIN_ACCEPTANCE = 1e-3
# two levels of a finite volume differ by less, where no level may take more nodes
_FINITE, _MAX_NODES = 0.05, 200_000


def start(dim: int, charts: int) -> int:
    """Nodes per axis of every chart on the coarser of the first two levels of a distribution."""
    whole = _START.get(dim, _START_ABOVE)
    return max(_LEAST_PER_AXIS, round((whole / charts) ** (1 / dim)))


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
    """A sampler of the distribution with density e^f, which is normalised up to the error of quadrature.

    A value above its bound raises the bound, for later draws too, and starts the draw again.

    Args:
        charts: all of them.
        nodes: of the midpoint rule on these charts.
        per_axis: how many there are per axis.
        log_density: f, points (n, D) to values (n,).
        guard: of M; draws outside are rejected.

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
        in_domain: Guard | None = None,
    ) -> None:
        self.charts, self.per_axis, self.log_density = charts, per_axis, log_density
        self.in_domain = in_domain
        self.dim, n = charts[0].dim, per_axis
        mass = (nodes.weights.log() + log_density(nodes.points)).exp().to("cpu", torch.float64)
        grid = mass.new_zeros(len(charts), n**self.dim)
        for k, chart in enumerate(charts):
            mine = nodes.chart == k
            cell = cell_index(chart.domain, nodes.latent[mine], n)
            grid[k, cell.cpu()] = mass[mine.cpu()]
        self.bounds = _SLACK * widen(grid, n, self.dim)

    @torch.no_grad()
    def draw(self, n: int, generator: torch.Generator | None) -> Draw:
        """N independent points, with the number of proposals and of bounds that were raised.

        Raises:
            UnsupportedError: bounds went on being exceeded, or next to nothing is kept.
        """
        for raised in range(_MAX_RESTARTS):
            points, proposed = self._rejection(n, generator)
            if points is not None:
                return Draw(points, proposed, raised)
        raise UnsupportedError(
            f"expected a density that cells of {self.per_axis} per axis resolve, but its "
            f"bounds were exceeded {_MAX_RESTARTS} times; pass a larger per_axis"
        )

    def _rejection(self, n: int, generator: torch.Generator | None) -> tuple[Tensor | None, int]:
        """N points under the bounds, or None after a bound was raised."""
        bounds = self.bounds.flatten()
        expected = 1 / float(bounds.sum())  # the masses of all cells add up to 1
        if expected < _MIN_ACCEPTANCE:
            raise UnsupportedError(
                f"expected bounds that keep a share {_MIN_ACCEPTANCE} of the proposals, got "
                f"{expected:.1e}: the density has peaks narrower than a cell; pass a larger "
                "per_axis"
            )
        kept: list[Tensor] = []
        count = proposed = 0
        while count < n or not kept:
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
            kept.append(x[u[:, 0] * limit < mass])
            count += kept[-1].shape[0]
        # in the order of the proposals: cutting the tail is then no bias
        return torch.cat(kept)[:n], proposed

    def _at(self, cell: Int[Tensor, " m"], u: Float[Tensor, "m d"]) -> tuple[Tensor, Tensor]:
        """Points at places u in [0, 1)^d of cells, and the density's share as in the bounds."""
        n, d = self.per_axis, self.dim
        x = u.new_zeros(u.shape[0], self.charts[0].ambient_dim)
        mass = u.new_zeros(u.shape[0])
        owner, flat = cell // n**d, cell % n**d
        index = torch.stack([flat // n ** (d - 1 - axis) % n for axis in range(d)], -1)
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
            x[mine] = y
            mass[mine] = density * float(step.prod()) * self.log_density(y).exp()
        return x, mass


@torch.no_grad()
def sample_uniform(
    charts: Sequence[Chart],
    n: int,
    generator: torch.Generator | None,
    in_domain: Guard | None = None,
) -> Float[Tensor, "n D"]:
    """See :meth:`Atlas.sample_uniform`."""
    d, K = charts[0].dim, len(charts)
    per_axis = start(d, K)
    volume = float(quadrature(charts, per_axis, in_domain).weights.sum())
    while True:
        per_axis, before = math.ceil(1.5 * per_axis), volume
        nodes = quadrature(charts, per_axis, in_domain)
        volume = float(nodes.weights.sum())
        settled = abs(volume - before) <= _FINITE * volume
        if settled or K * math.ceil(1.5 * per_axis) ** d > _MAX_NODES:
            break
    if not volume > 0:
        raise AtlasError("expected an atlas of positive volume, but every chart has volume 0")
    # in higher dimensions the grids are too coarse to tell
    if not settled and d <= 3:
        raise UnsupportedError(
            f"expected a bounded area element, but the volume goes from {before:.3g} to "
            f"{volume:.3g} as {per_axis} nodes per axis are taken; it may be infinite: use charts "
            "with smaller domains"
        )
    log_volume = math.log(volume)
    cells = RejectionGrid(
        charts, nodes, per_axis, lambda x: x.new_full(x.shape[:1], -log_volume), in_domain
    )
    return cells.draw(n, generator).points
