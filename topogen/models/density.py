"""Learned laws on an atlas."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ..distributions.bumps import BumpMixture, bump_densities
from ..errors import InvalidPoints
from ..manifolds.atlas import Atlas
from ..manifolds.charts import Chart
from ..points import as_tensor
from .base import Learned, Model, Stage
from .projected import farthest_points

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# how many bumps, and which share of pseudo-data uniform on M; chosen on held-out points
_SIZES = (50, 100, 200, 400, 800)
_SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
_MAX_STEPS = 200
_PATIENCE = 5
_HELD_OUT = 0.1
# mass spread over whole charts, so that no place covered by one has density 0
_FLOOR = 1e-3
# bumps overlap this much: radius over covering radius of their centres
_OVERLAP = 2.0
_PSEUDO_POINTS = 8000


@dataclass(frozen=True)
class _Located:
    """Points of M with the charts that hold them: one row per (point, chart) pair."""

    x: Tensor
    row: Tensor
    chart: Tensor
    z: Tensor
    log_volume: Tensor


@dataclass(frozen=True)
class _Bumps:
    """Centres, metrics and charts of a family of bumps, and their densities at located points."""

    chart: Tensor
    z: Tensor
    L: Tensor

    def design(self, located: _Located) -> csr_matrix:
        """Sparse (points x bumps) matrix of densities w.r.t. the volume of M."""
        from scipy.sparse import coo_matrix

        rows, columns, values = [], [], []
        for k in self.chart.unique().tolist():
            mine = (self.chart == k).nonzero().squeeze(-1)
            here = (located.chart == k).nonzero().squeeze(-1)
            density = bump_densities(located.z[here], self.z[mine], self.L[mine])
            density = density * (-located.log_volume[here]).exp().unsqueeze(-1)
            i, j = density.nonzero(as_tuple=True)
            rows.append(located.row[here[i]])
            columns.append(mine[j])
            values.append(density[i, j])
        return coo_matrix(
            (torch.cat(values).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy())),
            shape=(located.x.shape[0], self.chart.numel()),
        ).tocsr()


class AtlasDensity(Model):
    r"""An exact density on the manifold of an atlas, learned from points.

    ``law="bumps"``: a :class:`~topogen.distributions.BumpMixture`. Centres are farthest points of the
    data, each in the chart in which it lies deepest; bumps are round in the metric of M. Only the
    weights are learned, by EM, which is a convex problem: it maximises

    .. math:: (1 - \alpha) \tfrac1n \sum_i \log p(x_i) + \alpha\, \mathrm{E}_{\mathrm{Unif}(M)} \log p

    started at the uniform law. The number of bumps, the share :math:`\alpha` of pseudo-data uniform on M, and the
    number of EM steps are those that do best on a held-out tenth of the points. One thousandth of
    the mass is spread over whole charts, so that p > 0 wherever a chart is defined.

    Args:
        atlas: the charts; fitted first if it has not been.
        law: the family of densities.

    Attributes:
        held_out: mean log density of the held-out points, in nats w.r.t. H^d, for the chosen setting.
    """

    chart: Tensor
    z: Tensor
    L: Tensor
    weights: Tensor

    def __init__(self, atlas: Atlas, law: Literal["bumps"] = "bumps") -> None:
        super().__init__()
        if law != "bumps":
            raise ValueError(f"expected law='bumps', got {law!r}")
        self.atlas, self.law = atlas, law
        self.held_out = math.nan
        self.log_z_error = 0.0
        for name in ("z", "L", "weights"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))
        self.register_buffer("chart", torch.empty(0, dtype=torch.int64))

    def forward(self) -> BumpMixture:
        """The law at the current weights."""
        self.require_fitted()
        return BumpMixture(
            self.atlas, self.chart, self.z, self.L, self.weights, log_z_error=self.log_z_error
        )

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted atlas, then the bumps."""
        if isinstance(self.atlas, Learned):
            yield from self.atlas.stages(points)
        if not self.fitted:
            yield Stage("density", lambda generator: self._fit(points, generator))

    def get_extra_state(self) -> dict[str, Any]:
        """The plain numbers of the fit."""
        return {
            **super().get_extra_state(),
            "held_out": self.held_out,
            "log_z_error": self.log_z_error,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` gave."""
        super().set_extra_state(state)
        self.held_out, self.log_z_error = state["held_out"], state["log_z_error"]

    def _fit(
        self, points: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        data, pseudo, volume = yield from self._locate_all(points, generator)
        n = data.x.shape[0]
        if n < 20:
            raise InvalidPoints(
                f"expected at least 20 points in the charts, got {n}; give more points, or fit the "
                "atlas to these"
            )
        order = torch.randperm(n, generator=generator)
        held = torch.zeros(n, dtype=torch.bool)
        held[order[: max(int(_HELD_OUT * n), 5)]] = True

        best: tuple[float, _Bumps, float, int] | None = None
        start = int(order[-1])
        centres = farthest_points(data.x, min(max(_SIZES), n), start)
        for size in _SIZES:
            if size > max(n // 4, _SIZES[0]) or size > len(centres):
                break
            bumps = self._place(data, centres[:size])
            at_data, at_pseudo = bumps.design(data), bumps.design(pseudo)
            for share in _SHARES:
                fit = _EM(at_data[~held.numpy()], at_pseudo, volume.numpy(), share)
                score, steps = fit.stop_early(at_data[held.numpy()])
                yield {"bumps": size, "share": share, "loss": -score}
                if best is None or score > best[0]:
                    best = score, bumps, share, steps
        if best is None:
            raise InvalidPoints(f"expected at least {_SIZES[0]} points in the charts, got {n}")
        self.held_out, bumps, share, steps = best
        final = _EM(bumps.design(data), bumps.design(pseudo), volume.numpy(), share)
        for _ in range(steps):
            final.step()
        floor = self._floor()
        w = torch.from_numpy(final.w)
        self.chart = torch.cat([bumps.chart, floor.chart])
        self.z, self.L = torch.cat([bumps.z, floor.z]), torch.cat([bumps.L, floor.L])
        even = torch.full((floor.chart.numel(),), _FLOOR / max(floor.chart.numel(), 1))
        self.weights = torch.cat([w * (1 - even.sum()), even.to(w.dtype)])
        self.fitted = True
        law = self.forward()
        lost = law._propose(4096, generator).isnan().any(-1).to(torch.float64).mean().item()
        self.log_z_error = -math.log1p(-min(lost, 0.999))
        yield {"loss": -self.held_out, "undecoded": lost}
        return steps < _MAX_STEPS

    # -- geometry, done once ----------------------------------------------------------------------

    def _locate_all(
        self, points: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, tuple[_Located, _Located, Tensor]]:
        """Data and quadrature nodes in the charts, and the normalised weights of the nodes."""
        M = self.atlas.manifold
        if M is None:
            raise InvalidPoints("expected an atlas with a manifold; pass Atlas(charts, manifold=M)")
        moved = M.project(as_tensor(points, ambient_dim=M.ambient_dim))
        data = self._locate(moved.value[moved.converged])
        yield {"located": data.x.shape[0]}
        charts = len(self.atlas.charts)
        per_axis = max(4, round((2 * _PSEUDO_POINTS / charts) ** (1 / M.dim)))
        x, weights, _, _ = self.atlas.quadrature(per_axis)
        pseudo = self._locate(x)
        yield {"quadrature": x.shape[0]}
        return data, pseudo, weights / weights.sum()

    def _locate(self, x: Tensor) -> _Located:
        M = self.atlas.manifold
        if M is None:
            raise InvalidPoints("expected an atlas with a manifold")
        Q = M.tangent_basis(x)
        rows, charts, latents, volumes = [], [], [], []
        for k, chart in enumerate(self.atlas.charts):
            z, inside = chart._encode(x)
            row = inside.nonzero().squeeze(-1)
            rows.append(row)
            charts.append(torch.full_like(row, k))
            latents.append(z[row])
            volumes.append(chart.log_volume_on(z[row], Q[row]))
        return _Located(
            x, torch.cat(rows), torch.cat(charts), torch.cat(latents), torch.cat(volumes)
        )

    def _place(self, data: _Located, centres: list[int]) -> _Bumps:
        """Bumps about the data points `centres`, round in the metric of M, inside their charts."""
        h = cover_radius(data.x, centres)
        charts = list(self.atlas.charts)
        depth = torch.cat(
            [chart.domain.depth(data.z[data.chart == k]) for k, chart in enumerate(charts)]
        )
        # rows are grouped by chart, so `depth` is in the order of the rows
        deepest = data.x.new_full((data.x.shape[0],), -math.inf).scatter_reduce(
            0, data.row, depth, "amax"
        )
        home = (depth == deepest[data.row]).nonzero().squeeze(-1)
        pair = torch.full((data.x.shape[0],), -1, dtype=torch.int64).scatter(0, data.row[home], home)
        pair = pair[torch.tensor(centres)]
        pair = pair[pair >= 0]
        k, z = data.chart[pair], data.z[pair]
        L = z.new_empty(z.shape[0], z.shape[1], z.shape[1])
        for chart in k.unique().tolist():
            rows = k == chart
            J = charts[chart].jacobian(z[rows])
            root = torch.linalg.cholesky(J.mT @ J).mT
            L[rows] = _shrink(charts[chart], z[rows], root / (_OVERLAP * h))
        usable = L.isfinite().all(-1).all(-1)
        return _Bumps(k[usable], z[usable], L[usable])

    def _floor(self) -> _Bumps:
        """One bump over the whole of each chart."""
        centre = [chart.domain.centre() for chart in self.atlas.charts]
        L = [
            _shrink(chart, c.unsqueeze(0), 0.5 * torch.eye(c.numel(), dtype=c.dtype).unsqueeze(0))[0]
            for chart, c in zip(self.atlas.charts, centre, strict=True)
        ]
        return _Bumps(torch.arange(len(centre)), torch.stack(centre), torch.stack(L))


def cover_radius(x: Tensor, centres: list[int]) -> float:
    """The largest distance of a row of x to the nearest centre."""
    return float(torch.cdist(x, x[centres]).min(-1)[0].max())


def _shrink(chart: Chart, z: Tensor, L: Tensor) -> Tensor:
    """Scale each L up until the ellipsoid |L (y - z)| <= 1 lies in the (convex) domain of the chart."""
    d = z.shape[-1]
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(64 * d, d, dtype=z.dtype, generator=generator)
    sphere = g / g.norm(dim=-1, keepdim=True)
    L = L.clone()
    for _ in range(60):
        edge = z.unsqueeze(1) + torch.linalg.solve(L, sphere.mT.expand(z.shape[0], d, -1)).mT
        inside = (chart.domain.depth(edge) > 1e-3).all(-1)
        if bool(inside.all()):
            return L
        L = torch.where(inside[:, None, None], L, 1.1 * L)
    return torch.where(inside[:, None, None], L, math.nan)


class _EM:
    """EM for the weights of a mixture of known densities on data and weighted pseudo-data."""

    def __init__(self, at_data: csr_matrix, at_pseudo: csr_matrix, volume: Any, share: float) -> None:
        n = at_data.shape[0]
        self.at_data, self.at_pseudo = at_data, at_pseudo
        self.data_weight = 1 / (n * (1 + share))
        self.pseudo_weight = volume * share / (1 + share)
        # the uniform law: mass of each bump under it
        uniform = at_pseudo.T @ (volume / self._mixture(at_pseudo, None))
        self.w = uniform / uniform.sum()

    @staticmethod
    def _mixture(design: csr_matrix, w: Any) -> Any:
        """Mixture density at the rows; 1 where no bump reaches (those rows have no influence)."""
        import numpy as np

        p = design @ (np.full(design.shape[1], 1 / design.shape[1]) if w is None else w)
        return np.where(p > 0, p, 1.0)

    def step(self) -> None:
        """w <- responsibilities of the bumps, data and pseudo-data together."""
        g = self.at_data.T @ (self.data_weight / self._mixture(self.at_data, self.w))
        g = g + self.at_pseudo.T @ (self.pseudo_weight / self._mixture(self.at_pseudo, self.w))
        w = self.w * g
        self.w = w / w.sum()

    def stop_early(self, held_out: csr_matrix) -> tuple[float, int]:
        """Step until the held-out mean log density stops growing; its best value and step."""
        import numpy as np

        def score() -> float:
            # rows that no bump reaches get the floor, not -inf
            return float(np.log(np.maximum(held_out @ self.w, 1e-12)).mean())

        best, at = score(), 0
        for i in range(1, _MAX_STEPS + 1):
            self.step()
            value = score()
            if value > best:
                best, at = value, i
            elif i - at >= _PATIENCE:
                break
        return best, at
