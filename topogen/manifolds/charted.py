"""The manifold that charts cover, known by them alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .. import calculus
from ..errors import AtlasError
from ..point_cloud.tensors import nearest_row
from .base import Manifold, Projection, iterate
from .charts import Chart
from .integration import located

# nodes per axis of a chart from which searches start, by dimension, 4 above
_NODES = {1: 128, 2: 24, 3: 8}


class _Nodes(NamedTuple):
    """Points of M, the chart in which each lies deepest, and its coordinates there."""

    x: Float[Tensor, "n D"]
    chart: Int[Tensor, " n"]
    z: Float[Tensor, "n d"]


class ChartedManifold(Manifold):
    r"""The union :math:`M = \bigcup_k \psi_k(U_k)` of the images of charts.

    `project` gives a nearest point: from the nearest of many points of M, by Gauss-Newton steps
    :math:`z \leftarrow z + J^+ (x - \psi_k(z))` in the chart in which that lies deepest, halved
    until they stay in U_k and lead closer. Where M ends, at a boundary of U_k that no other chart
    covers, the nearest point is none of M, and the projection has not converged.

    An :class:`~topogen.Atlas` of charts alone makes it.

    Args:
        charts: of one dimension in one space, with one image on their overlaps.
        atlas: the atlas that they form.
    """

    along_normals = True

    def __init__(self, charts: Sequence[Chart], atlas: Any) -> None:
        super().__init__()
        self.dim, self.ambient_dim = charts[0].dim, charts[0].ambient_dim
        # in tuples: the atlas owns the charts, and their state is saved once
        self._charts, self._atlas = tuple(charts), (atlas,)

    def atlas(self) -> Any:
        """The atlas of the charts."""
        return self._atlas[0]

    @cached_property
    def _nodes(self) -> _Nodes:
        """Nodes of the grids of all charts.

        Raises:
            AtlasError: no chart decodes a node.
        """
        per_axis = _NODES.get(self.dim, 4)
        with torch.no_grad():
            parts = [c.decode(c.domain.grid(per_axis)[0]).to(torch.float64) for c in self._charts]
            x = torch.cat([part[part.isfinite().all(-1)] for part in parts])
            if not len(x):
                raise AtlasError(
                    "expected charts with points in their domains, but no chart decodes any node "
                    "of its grid; check decode with topogen.testing.check_chart"
                )
            return _Nodes(x, *self._deepest(x))

    def _deepest(self, x: Float[Tensor, "n D"]) -> tuple[Tensor, Tensor]:
        """The chart in which each point lies deepest, -1 where in none, and its coordinates."""
        best = x.new_zeros(len(x))
        index, latent = torch.full((len(x),), -1), x.new_zeros(len(x), self.dim)
        for k, chart in enumerate(self._charts):
            z, depth = located(chart, x)
            deeper = depth > best
            best, index = torch.where(deeper, depth, best), torch.where(deeper, k, index)
            latent = torch.where(deeper.unsqueeze(-1), z.to(x.dtype), latent)
        return index, latent

    @cached_property
    def scale(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The root mean square distance of points of M from their mean."""
        x = self._nodes.x
        return float((x - x.mean(0)).square().sum(-1).mean().sqrt())

    @cached_property
    def closed(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the boundary of every chart lies inside other charts."""
        with torch.no_grad():
            for k, chart in enumerate(self._charts):
                z = chart.domain.near_boundary(32, torch.Generator().manual_seed(k))
                x = chart.decode(z)
                x = x[x.isfinite().all(-1)]
                others = [c.contains(x) for c in self._charts if c is not chart]
                if not others or not bool(torch.stack(others).any(0).all()):
                    return False
        return True

    def project(
        self,
        x: Float[Tensor, "*batch D"],
        *,
        tol: float | None = None,
        max_steps: int = 50,
        throw: bool = False,
    ) -> Projection:
        """A nearest point of M; the residual is the tangential part of x less that point.

        Args:
            x: points near M, shape (..., D).
            tol: residual at which a point counts as converged.
            max_steps: most Gauss-Newton steps per point.
            throw: raise where a point does not converge, instead of saying so.

        Raises:
            ProjectionError: `throw` is set and some point did not converge.
        """
        self.check_points(x)
        tol = self.solver_tolerance(tol, x.dtype)
        rows = x.reshape(-1, self.ambient_dim).to(torch.float64)
        finite = rows.detach().isfinite().all(-1)
        value, residual = torch.full_like(rows, torch.nan), torch.full_like(rows[:, 0], torch.inf)
        steps = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        nodes = self._nodes
        start = nearest_row(nodes.x, torch.where(finite.unsqueeze(-1), rows.detach(), 0.0))
        for k in nodes.chart[start].unique().tolist():
            mine = (finite & (nodes.chart[start] == k)).nonzero().squeeze(-1)
            z, r, taken = self._search(
                k, rows[mine].detach(), nodes.z[start[mine]], tol, max_steps
            )
            with torch.no_grad():
                y, J = self._charts[k].value_and_jacobian(z)
            Q = calculus.tangent_basis(J)
            moved = (rows[mine] - rows[mine].detach()).unsqueeze(-1)  # 0, with a derivative
            value = value.index_put((mine,), y + (Q @ (Q.mT @ moved)).squeeze(-1))
            residual = residual.index_put((mine,), r)
            steps = steps.index_put((mine,), taken)
        p = Projection(value, residual, residual <= tol, steps).like(x)
        return p.require(tol) if throw else p

    @torch.no_grad()
    def _search(
        self, k: int, x: Float[Tensor, "n D"], z: Float[Tensor, "n d"], tol: float, max_steps: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The coordinates in chart k of the point nearest to x, the residual, and the steps."""
        chart, d = self._charts[k], self.dim
        fraction = 0.5 ** torch.arange(12, dtype=x.dtype, device=x.device)

        def evaluate(state: Tensor) -> tuple[Tensor, Tensor]:
            z, x = state[:, :d], state[:, d:]
            y, J = chart.value_and_jacobian(z)
            offset = (x - y).unsqueeze(-1)
            Q = calculus.tangent_basis(J)
            along = Q.mT @ offset
            step = torch.linalg.solve_ex(Q.mT @ J, along)[0].squeeze(-1)
            trial = z + fraction[:, None, None] * step
            distance = (chart.decode(trial) - x).norm(dim=-1)  # NaN outside U_k
            rounding = 8 * torch.finfo(x.dtype).eps * x.norm(dim=-1)
            closer = distance <= offset.squeeze(-1).norm(dim=-1) + rounding
            first = closer.to(torch.int8).argmax(0)
            moved = trial[first, torch.arange(len(z), device=z.device)]
            moved = torch.where(closer.any(0).unsqueeze(-1), moved, z)
            return along.flatten(-2).norm(dim=-1), torch.cat([moved, x], -1)

        found = iterate(evaluate, torch.cat([z, x], -1), tol=tol, max_steps=max_steps)
        return found.value[:, :d], found.residual, found.steps

    def residual(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch"]:
        """The distance to the nearest point of M."""
        return (self.project(x).value - x).norm(dim=-1)

    def tangent_basis(self, x: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D d"]:
        """Orthonormal basis of the range of J, in the chart in which x lies deepest."""
        self.check_points(x)
        rows = x.reshape(-1, self.ambient_dim).to(torch.float64)
        with torch.no_grad():
            index = self._deepest(rows)[0]
        Q = rows.new_full((*rows.shape, self.dim), torch.nan)
        for k in index.unique().tolist():
            if k < 0:
                continue
            mine = (index == k).nonzero().squeeze(-1)
            J = self._charts[k].jacobian(self._charts[k].encode(rows[mine]))
            Q = Q.index_put((mine,), calculus.tangent_basis(J))
        return Q.reshape(*x.shape, self.dim).to(x.dtype)

    def rough_points(
        self, n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "m D"]:
        """Nodes of the charts."""
        x = self._nodes.x
        return x[torch.randperm(len(x), generator=generator)[:n]]
