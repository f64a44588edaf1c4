"""Learned laws on an atlas."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import calculus
from ..distributions.bumps import BumpMixture, bump_densities
from ..errors import AtlasError, InvalidPoints
from ..manifolds.atlas import Atlas
from ..manifolds.base import Manifold
from ..manifolds.charts import Chart
from ..points import as_tensor
from .base import Learned, Model, Stage
from .projected import farthest_points

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# How many bumps carry the density, at most and as a share of the points; radius of a bump over the
# covering radius of their centres.
_MAX_BUMPS = 1600
_POINTS_PER_BUMP = 5
_OVERLAP = 4.0
# Kernels that tie the weights of the bumps together: how many, and their width over the covering
# radius of their centres. With the share of pseudo-data they are chosen on held-out points.
_KERNELS = (12, 25, 50, 100, 200, 400)
_KERNEL_WIDTH = 1.0
_SHARES = (0.003, 0.03, 0.3)
_HELD_OUT = 0.1
_MAX_STEPS = 300
_PATIENCE = 5
# EM steps that fit the uniform law, where every density starts
_FLAT_STEPS = 100
_PSEUDO_POINTS = 6000
# mass spread over whole charts, so that no place covered by one has density 0
_FLOOR = 1e-3


class AtlasDensity(Model):
    r"""An exact density on the manifold of an atlas, learned from points.

    ``law="bumps"`` is a :class:`~topogen.distributions.BumpMixture`: many small bumps, round in the
    metric of M, each inside one chart. Their weights are tied by wider kernels
    :math:`\kappa_c` about fewer centres, :math:`w_j = \sum_c v_c\, \kappa_c(j)`, so the density may be smoother
    than a chart is large. Only v is learned, by EM from the uniform law; it maximises the concave

    .. math:: \tfrac1n \sum_i \log p(x_i) + \alpha\, \mathrm{E}_{\mathrm{Unif}(M)} \log p .

    The number of kernels, the share :math:`\alpha` of pseudo-data uniform on M, and the number of EM
    steps are those that do best on a held-out tenth of the points. One thousandth of the mass is
    spread over whole charts, so that p > 0 wherever a chart is defined.

    Args:
        atlas: the charts; fitted first if it has not been.
        law: the family of densities.

    Attributes:
        held_out: mean log density of the held-out points at the chosen setting, in nats w.r.t. H^d.
        floor: mass that is spread over whole charts.
    """

    chart: Tensor
    z: Tensor
    L: Tensor
    weights: Tensor
    floor = _FLOOR

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
        """The law at the current weights; points off the learned set get -inf, not an error."""
        self.require_fitted()
        return BumpMixture(
            self.atlas,
            self.chart,
            self.z,
            self.L,
            self.weights,
            log_z_error=self.log_z_error,
            validate_args=False,
        )

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted atlas, then the density."""
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
        M = self.atlas.manifold
        if M is None:
            raise AtlasError("expected an atlas with a manifold; pass Atlas(charts, manifold=M)")
        moved = M.project(as_tensor(points, ambient_dim=M.ambient_dim))
        data = _Located.of(moved.value[moved.converged], self.atlas, M)
        n = data.x.shape[0]
        if n < 20:
            raise InvalidPoints(f"expected at least 20 points on the manifold, got {n}")
        yield {"points": n}
        per_axis = max(4, round((2 * _PSEUDO_POINTS / len(self.atlas.charts)) ** (1 / M.dim)))
        x, volume, _, _ = self.atlas.quadrature(per_axis)
        uniform = _Located.of(x, self.atlas, M)
        volume = (volume / volume.sum()).numpy()
        yield {"quadrature": x.shape[0]}

        order = torch.randperm(n, generator=generator)
        everywhere = data.with_rows(uniform)
        count = max(min(_MAX_BUMPS, n // _POINTS_PER_BUMP), 10)
        centres = farthest_points(everywhere.x, count, int(order[0]))
        bumps = _Bumps.about(everywhere, centres, self.atlas)
        at_data, at_uniform = bumps.densities(data), bumps.densities(uniform)
        held = order[: max(int(_HELD_OUT * n), 5)].numpy()
        kept = order[held.size :].numpy()
        # weights of the bumps that give the uniform law
        flat = _EM(at_uniform, volume, np.full(at_uniform.shape[1], 1 / at_uniform.shape[1]))
        for _ in range(_FLAT_STEPS):
            flat.step()

        best: tuple[float, np.ndarray, float, int] | None = None
        for count in _KERNELS:
            if count > len(centres) // 2:
                break
            kernels = _kernels(bumps.x, count) * flat.v[:, None]
            mass = kernels.sum(axis=0)
            kernels = kernels[:, mass > 0] / mass[mass > 0]
            design = np.concatenate([at_data @ kernels, at_uniform @ kernels])
            spread = _EM(design[n:], volume, np.full(kernels.shape[1], 1 / kernels.shape[1]))
            for _ in range(_FLAT_STEPS):
                spread.step()
            rows = np.concatenate([kept, np.arange(n, design.shape[0])])
            for share in _SHARES:
                rate = np.concatenate([np.full(kept.size, 1 / kept.size), share * volume])
                score, steps = _EM(design[rows], rate, spread.v).stop_early(design[held])
                yield {"kernels": kernels.shape[1], "share": share, "loss": -score}
                if best is None or score > best[0]:
                    best = score, kernels, share, steps
                    start = spread.v
        if best is None:
            raise InvalidPoints(f"expected at least {8 * _KERNELS[0]} points, got {n}")
        self.held_out, kernels, share, steps = best
        rate = np.concatenate([np.full(n, 1 / n), share * volume])
        final = _EM(np.concatenate([at_data @ kernels, at_uniform @ kernels]), rate, start)
        for _ in range(steps):
            final.step()
        self._keep(bumps, torch.from_numpy(kernels @ final.v))
        lost = self.forward()._propose(4096, generator).isnan().any(-1).double().mean().item()
        self.log_z_error = -math.log1p(-min(lost, 0.999))
        yield {"loss": -self.held_out, "undecoded": lost}
        return steps < _MAX_STEPS

    def _keep(self, bumps: _Bumps, w: Tensor) -> None:
        """Store the bumps with a share 1 - floor of the mass, and one floor bump per chart."""
        charts = list(self.atlas.charts)
        centre = torch.stack([chart.domain.centre() for chart in charts])
        whole = 0.5 * torch.eye(centre.shape[-1], dtype=centre.dtype).unsqueeze(0)
        L = torch.cat(
            [_shrink(chart, c[None], whole) for chart, c in zip(charts, centre, strict=True)]
        )
        used = w > 0
        self.chart = torch.cat([bumps.chart[used], torch.arange(len(charts))])
        self.z, self.L = torch.cat([bumps.z[used], centre]), torch.cat([bumps.L[used], L])
        even = torch.full((len(charts),), self.floor / len(charts), dtype=w.dtype)
        self.weights = torch.cat([(1 - self.floor) * w[used] / w.sum(), even])
        self.fitted = True


@dataclass(frozen=True)
class _Located:
    """Points x of M, and one row per (point, chart that holds it)."""

    x: Tensor
    row: Tensor
    chart: Tensor
    z: Tensor
    J: Tensor

    @staticmethod
    def of(x: Tensor, atlas: Atlas, M: Manifold) -> _Located:
        Q = M.tangent_basis(x)
        parts = []
        for k, chart in enumerate(atlas.charts):
            z, inside = chart._encode(x)
            row = inside.nonzero().squeeze(-1)
            J = chart.jacobian_on(z[row], Q[row])
            parts.append((row, torch.full_like(row, k), z[row], J))
        return _Located(x, *(torch.cat(part) for part in zip(*parts, strict=True)))

    def with_rows(self, other: _Located) -> _Located:
        """These points followed by others."""
        row = torch.cat([self.row, other.row + self.x.shape[0]])
        x, chart = torch.cat([self.x, other.x]), torch.cat([self.chart, other.chart])
        return _Located(x, row, chart, torch.cat([self.z, other.z]), torch.cat([self.J, other.J]))


@dataclass(frozen=True)
class _Bumps:
    """Bumps on charts: centres x of M, at latent z, with the map L to the unit ball."""

    x: Tensor
    chart: Tensor
    z: Tensor
    L: Tensor

    @staticmethod
    def about(data: _Located, centres: list[int], atlas: Atlas) -> _Bumps:
        """Bumps about some of the points, each in the chart in which it lies deepest.

        L^T L is the metric of M there over the squared radius, so the bump is round on M; near the
        edge of its chart it is made smaller.
        """
        index = torch.tensor(centres)
        h = float(torch.cdist(data.x, data.x[index]).min(-1)[0].max())
        depth = torch.empty(data.row.numel(), dtype=data.x.dtype)
        for k, chart in enumerate(atlas.charts):
            rows = data.chart == k
            depth[rows] = chart.domain.depth(data.z[rows])
        order = depth.argsort()
        home = torch.full((data.x.shape[0],), -1, dtype=torch.int64)
        home[data.row[order]] = order  # the deepest is written last
        pair = home[index]
        pair = pair[pair >= 0]
        J = data.J[pair]
        L = torch.linalg.cholesky(J.mT @ J).mT / (_OVERLAP * h)
        for k, chart in enumerate(atlas.charts):
            rows = data.chart[pair] == k
            L[rows] = _shrink(chart, data.z[pair[rows]], L[rows])
        kept = L.isfinite().all(-1).all(-1)
        pair, L = pair[kept], L[kept]
        return _Bumps(data.x[data.row[pair]], data.chart[pair], data.z[pair], L)

    def densities(self, located: _Located) -> csr_matrix:
        """Sparse (points x bumps) matrix of densities w.r.t. H^d."""
        from scipy.sparse import coo_matrix

        log_volume = calculus.log_gram(located.J)
        rows, columns, values = [], [], []
        for k in self.chart.unique().tolist():
            mine = (self.chart == k).nonzero().squeeze(-1)
            here = (located.chart == k).nonzero().squeeze(-1)
            density = bump_densities(located.z[here], self.z[mine], self.L[mine])
            density = density * (-log_volume[here]).exp().unsqueeze(-1)
            i, j = density.nonzero(as_tuple=True)
            rows.append(located.row[here[i]])
            columns.append(mine[j])
            values.append(density[i, j])
        return coo_matrix(
            (torch.cat(values).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy())),
            shape=(located.x.shape[0], self.chart.numel()),
        ).tocsr()


def _kernels(x: Tensor, count: int) -> np.ndarray:
    """Gaussian kernels at the points x about `count` farthest of them, shape (J, count)."""
    centres = farthest_points(x, count, 0)
    distance = torch.cdist(x, x[centres])
    width = _KERNEL_WIDTH * float(distance.min(-1)[0].max())
    return torch.exp(-0.5 * (distance / width).square()).numpy()


def _shrink(chart: Chart, z: Tensor, L: Tensor) -> Tensor:
    """Scale each L up until the ellipsoid |L (y - z)| <= 1 is in the (convex) domain of the chart."""
    d = z.shape[-1]
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(64 * d, d, dtype=z.dtype, generator=generator)
    sphere = g / g.norm(dim=-1, keepdim=True)
    rim = torch.linalg.solve(L, sphere.mT.expand(z.shape[0], d, -1)).mT
    scale = torch.ones(z.shape[0], dtype=z.dtype)
    for _ in range(60):
        inside = (chart.domain.depth(z[:, None] + rim / scale[:, None, None]) > 1e-3).all(-1)
        if bool(inside.all()):
            break
        scale = torch.where(inside, scale, 1.1 * scale)
    return torch.where(inside[:, None, None], L * scale[:, None, None], math.nan)


class _EM:
    """EM for the weights v of a mixture of known densities, at rows with given rates.

    It maximises sum_i rate_i log (design v)_i; rows that no component reaches have no influence.
    """

    def __init__(self, design: Any, rate: np.ndarray, v: np.ndarray) -> None:
        self.design, self.rate, self.v = design, rate, v

    def step(self) -> None:
        """v_c <- v_c sum_i rate_i design_ic / (design v)_i, normalised."""
        p = self.design @ self.v
        v = self.v * (self.design.T @ np.divide(self.rate, p, out=np.zeros_like(p), where=p > 0))
        self.v = v / v.sum()

    def stop_early(self, held_out: Any) -> tuple[float, int]:
        """Step until the mean log density of the held-out rows stops growing; the best and when."""
        best, at = -math.inf, 0
        for i in range(_MAX_STEPS + 1):
            # rows that no component reaches will have the floor, not 0
            score = float(np.log(np.maximum(held_out @ self.v, 1e-12)).mean())
            if score > best + 1e-6:
                best, at = score, i
            elif i - at >= _PATIENCE:
                break
            self.step()
        return best, at
