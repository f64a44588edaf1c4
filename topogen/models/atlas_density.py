"""Learned distributions on an atlas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import calculus
from ..distributions.bumps import BumpMixture, bump_densities, draw_bumps
from ..errors import InvalidPoints
from ..manifolds.atlas import BaseAtlas
from ..manifolds.charts import Chart
from ..point_cloud.landmarks import farthest_points
from ..point_cloud.tensors import as_tensor
from .base import LearnedDistribution, Progress, Stage, part_stages
from .units import allowed, require_near

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Kernels that tie the weights of the bumps together, and shares of pseudo-data: grids of factors 2
# and 10, from which held-out points choose.
_KERNELS = (12, 25, 50, 100, 200, 400)
_SHARES = (0.003, 0.03, 0.3)
_MAX_STEPS = 300  # of EM; one that held-out points would go on with is not converged


class AtlasDensity(LearnedDistribution):
    r"""An exact density on the manifold of an atlas, learned from points.

    It is a :class:`~topogen.distributions.bumps.BumpMixture`: many small bumps, round in the
    metric of M, each inside one chart. Wider kernels :math:`\kappa_c` about fewer centres tie
    their weights, :math:`w_j = \sum_c v_c\, \kappa_c(j)`. Only v is learned, by EM from the
    uniform distribution; it maximises the concave

    .. math:: \tfrac1n \sum_i \log p(x_i) + \alpha\, \mathrm{E}_{\mathrm{Unif}(M)} \log p .

    The number of kernels, the share :math:`\alpha` of pseudo-data uniform on M, and the number of
    steps are those that do best on a held-out tenth of the points. One thousandth of the mass is
    spread over whole charts: p > 0 wherever a chart is defined. Where M ends inside its charts
    every bump counts by its share on M.

    Args:
        atlas: the charts; fitted first if it has not been.

    Attributes:
        held_out: mean log density of the held-out points, in nats w.r.t. H^d.
        floor: mass that is spread over whole charts.
        atol: how far from a known M points like the data are; None where they lie on it.
        mass: share of the bumps on M, where M ends inside its charts; see :class:`BumpMixture`.
    """

    chart: Tensor
    z: Tensor
    L: Tensor
    weights: Tensor
    floor = 1e-3
    _numbers = ("held_out", "mass", "log_z_error", "atol")

    def __init__(self, atlas: BaseAtlas) -> None:
        super().__init__()
        self.atlas = atlas
        self.held_out = math.nan
        self.mass, self.log_z_error = 1.0, 0.0
        self.atol: float | None = None
        self.reserve("z", "L", "weights")
        self.register_buffer("chart", torch.empty(0, dtype=torch.int64))

    def measurements(self) -> dict[str, float | str]:
        """The mean of -log p over points that did not choose the weights."""
        return {"held-out NLL (nats)": -float(self.held_out)}

    def forward(self) -> BumpMixture:
        """The distribution at the current weights; points off M get -inf, not an error."""
        self.require_fitted()
        bumps, error = (self.chart, self.z, self.L, self.weights), self.log_z_error
        return BumpMixture(
            self.atlas, *bumps, mass=self.mass, log_z_error=error, validate_args=False
        ).within(self.atol)

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted manifold, of its charts, then the density."""
        yield from part_stages(points, self.atlas.manifold, self.atlas)
        if not self.fitted:
            yield Stage("density", lambda generator: self._fit(points, generator))

    def _fit(self, points: Tensor, generator: torch.Generator) -> Progress[bool]:
        M = self.atlas.manifold
        self.atlas.verify()
        points = as_tensor(points, ambient_dim=M.ambient_dim)
        moved = M.project(points)
        farthest = require_near(M, points, moved)
        self.atol = allowed(farthest)
        x = moved.value[moved.converged]
        n = x.shape[0]
        if n < 20 or len(self.atlas) == 0:
            raise InvalidPoints(
                f"expected at least 20 points on the manifold and a chart, got {n} and "
                f"{len(self.atlas)}; give more points, or another dimension"
            )
        data = _Located.of(x, M.tangent_basis(x), self.atlas)
        yield {"points": n, "moved": farthest}
        # quadrature nodes stand for the uniform distribution; about half of them have weight
        nodes = {1: 1000, 2: 5000}.get(M.dim, 12_000)
        per_axis = max(4, round((2 * nodes / len(self.atlas)) ** (1 / M.dim)))
        q = self.atlas.quadrature(per_axis)
        total = float(q.weights.sum())
        self.atlas.verify_volume(total, 0.02 * total)  # one level, and no fine one
        uniform = _Located.of(q.points, q.frame, self.atlas)
        yield {"quadrature": q.points.shape[0]}

        order = torch.randperm(n, generator=generator)
        count = {1: 400, 2: 2000}.get(M.dim, 4000)
        bumps = _Bumps.spread(data.with_rows(uniform), count, int(order[0]), self.atlas)
        if bumps.chart.numel() == 0:
            raise InvalidPoints(
                f"expected charts with room for bumps, got none in {len(self.atlas)}: the points "
                f"fill no part of a manifold of dimension {M.dim}; give more different points, or "
                "another dimension"
            )
        on_M = bumps.shares(self.atlas, generator)
        at_data, at_uniform = bumps.densities(data, on_M), bumps.densities(uniform, on_M)
        volume = (q.weights / q.weights.sum()).numpy()
        search = _WeightSearch(bumps.x, at_data, at_uniform, volume, order.numpy())
        best = yield from search.best()
        self.held_out = best.score
        self._keep(bumps, torch.from_numpy(search.weights(best)) / on_M)
        lost = self._normalise(bool((on_M < 1).any()), generator)
        yield {"loss": -self.held_out, "undecoded": lost}
        return best.steps < _MAX_STEPS

    def _normalise(self, cut: bool, generator: torch.Generator) -> float:
        """The mass on M, by quadrature where its boundary cuts bumps; the share of lost draws."""
        distribution = self.forward()
        lost = distribution.propose(4096, generator).isnan().any(-1).double().mean().item()
        if not cut:
            self.log_z_error = -math.log1p(-min(lost, 0.999))
            return lost
        tangents = distribution.manifold.tangent_basis
        found = self.atlas.integrate(
            lambda x: distribution.log_prob_on(x, tangents(x)).exp(),
            per_axis={1: 96, 2: 24, 3: 10}.get(self.atlas.dim, 8),
        )
        self.mass = max(float(found.value), 1e-3)
        self.log_z_error = float(found.error) / self.mass
        return lost

    def _keep(self, bumps: _Bumps, w: Tensor) -> None:
        """Store the bumps with a share 1 - floor of the mass, and one floor bump per chart."""
        charts = list(self.atlas)
        centre = torch.stack([chart.domain.centre() for chart in charts])
        whole = 0.5 * torch.eye(centre.shape[-1], dtype=centre.dtype).unsqueeze(0)
        shrunk = [
            _shrink(chart, c, whole) for chart, c in zip(charts, centre.split(1), strict=True)
        ]
        L = torch.cat(shrunk)
        used = w > 0
        self.chart = torch.cat([bumps.chart[used], torch.arange(len(charts))])
        self.z, self.L = torch.cat([bumps.z[used], centre]), torch.cat([bumps.L[used], L])
        even = torch.full((len(charts),), self.floor / len(charts), dtype=w.dtype)
        self.weights = torch.cat([(1 - self.floor) * w[used] / w.sum(), even])
        self.fitted = True


class _Hyperparameters(NamedTuple):
    """A choice of kernels, pseudo-data and EM steps, and its mean held-out log density."""

    score: float
    kernels: np.ndarray
    start: np.ndarray
    share: float
    steps: int


@dataclass(frozen=True)
class _WeightSearch:
    """The search for weights of n_J bumps that suit n data and n_q nodes of the uniform."""

    x: Tensor  # centres of the bumps
    at_data: csr_array  # densities of the bumps at the data, (n, n_J)
    at_uniform: csr_array  # at the nodes, (n_q, n_J)
    volume: np.ndarray  # weights of the nodes, which add up to 1
    order: np.ndarray  # of the data; the first tenth is held out

    def best(self) -> Progress[_Hyperparameters]:
        """The choice that does best on held-out points, after one record for every one tried.

        Raises:
            InvalidPoints: there are fewer bumps than kernels to choose from.
        """
        n = len(self.order)
        held_out, retained = np.split(self.order, [max(int(0.1 * n), 5)])
        best = _Hyperparameters(-math.inf, np.empty((0, 0)), np.empty(0), 0.0, 0)
        for kernels in self._kernels():
            design, start = self._design(kernels)
            rows = np.concatenate([retained, np.arange(n, design.shape[0])])
            for share in _SHARES:
                rate = self._rate(len(retained), share)
                score, steps = _EM(design[rows], rate, start).stop_early(design[held_out])
                yield {"kernels": kernels.shape[1], "share": share, "loss": -score}
                if score > best.score:
                    best = _Hyperparameters(score, kernels, start, share, steps)
        if best.kernels.size == 0:
            raise InvalidPoints(
                f"expected room for {_KERNELS[0]} bumps in the charts, got {len(self.x)}; "
                "give more points"
            )
        return best

    def weights(self, best: _Hyperparameters) -> np.ndarray:
        """The weights of the bumps from all data."""
        design = np.concatenate([self.at_data @ best.kernels, self.at_uniform @ best.kernels])
        fit = _EM(design, self._rate(len(self.order), best.share), best.start)
        return best.kernels @ fit.run(best.steps).v

    def _rate(self, n: int, share: float) -> np.ndarray:
        return np.concatenate([np.full(n, 1 / n), share * self.volume])

    def _kernels(self) -> Iterator[np.ndarray]:
        """Kernels kappa_c(j), more and more of them, each adding up to 1 over the bumps."""
        count = len(self.x)
        # weights that give the uniform distribution; by more steps they would follow single nodes
        flat = _EM(self.at_uniform, self.volume, np.full(count, 1 / count)).run(4)
        for centres in _KERNELS:
            if centres > max(len(self.order) // 8, _KERNELS[0]) or centres > count // 2:
                return
            index, radius = farthest_points(self.x.numpy(), centres, 0)
            distance = torch.cdist(self.x, self.x[torch.from_numpy(index)])
            gaussians = torch.exp(-0.5 * (distance / radius[-1]).square()).numpy()
            kernels = gaussians * flat.v[:, None]
            mass = kernels.sum(axis=0)
            yield kernels[:, mass > 0] / mass[mass > 0]

    def _design(self, kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Densities of the kernels at data and nodes, and the v closest to the uniform."""
        at_uniform, m = self.at_uniform @ kernels, kernels.shape[1]
        spread = _EM(at_uniform, self.volume, np.full(m, 1 / m)).run(30)
        return np.concatenate([self.at_data @ kernels, at_uniform]), spread.v


@dataclass(frozen=True)
class _Located:
    """Points x of M, and one row per (point, chart that contains it)."""

    x: Tensor
    row: Tensor
    chart: Tensor
    z: Tensor
    J: Tensor

    @staticmethod
    def of(x: Tensor, Q: Tensor, atlas: BaseAtlas) -> _Located:
        """Points x of M with tangent bases Q."""
        parts = []
        for k, chart in enumerate(atlas):
            z = chart.encode(x)
            row = (~z.isnan().any(-1)).nonzero().squeeze(-1)
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
    def spread(data: _Located, count: int, first: int, atlas: BaseAtlas) -> _Bumps:
        """Bumps about farthest points, each in the chart in which its centre lies deepest.

        L^T L is the metric of M there over the squared radius, 4 times the covering radius: the
        bump is round on M. Near the boundary of its chart it is made smaller.
        """
        centres, radius = farthest_points(data.x.numpy(), min(count, data.x.shape[0]), first)
        index, h = torch.from_numpy(centres), float(radius[-1])
        depth = torch.empty(data.row.numel(), dtype=data.x.dtype)
        for k, chart in enumerate(atlas):
            rows = data.chart == k
            depth[rows] = chart.domain.depth(data.z[rows])
        order = depth.argsort()
        home = torch.full((data.x.shape[0],), -1, dtype=torch.int64)
        home[data.row[order]] = order  # the deepest is written last
        pair = home[index]
        pair = pair[pair >= 0]
        J = data.J[pair]
        L = torch.linalg.cholesky(J.mT @ J).mT / (4 * h)
        for k, chart in enumerate(atlas):
            rows = data.chart[pair] == k
            L[rows] = _shrink(chart, data.z[pair[rows]], L[rows])
        fits = L.isfinite().all(-1).all(-1)
        pair, L = pair[fits], L[fits]
        return _Bumps(data.x[data.row[pair]], data.chart[pair], data.z[pair], L)

    def shares(self, atlas: BaseAtlas, generator: torch.Generator) -> Float[Tensor, " J"]:
        """The share of every bump that lies on M; 1 where M does not end inside its charts."""
        share = self.z.new_ones(len(self.z))
        if atlas.in_domain is None:
            return share
        cut = torch.arange(len(self.z))
        for draws in (8, 128):  # a few show whether the boundary cuts a bump, more by how much
            j = cut.repeat_interleave(draws)
            x = draw_bumps(atlas, self.chart[j], self.z[j], self.L[j], generator)
            on_M = (~x.isnan().any(-1)).reshape(-1, draws).to(share).mean(1)
            share[cut] = on_M.clamp_min(1 / draws)
            cut = cut[on_M < 1]
        return share

    def densities(self, located: _Located, share: Float[Tensor, " J"]) -> csr_array:
        """Sparse (points x bumps) matrix of densities w.r.t. H^d, of which a share is on M."""
        from scipy.sparse import coo_array

        log_volume = calculus.log_gram(located.J)
        parts = []
        for k in self.chart.unique().tolist():
            mine = (self.chart == k).nonzero().squeeze(-1)
            here = (located.chart == k).nonzero().squeeze(-1)
            density = bump_densities(located.z[here], self.z[mine], self.L[mine])
            density = density * (-log_volume[here]).exp().unsqueeze(-1) / share[mine]
            i, j = density.nonzero(as_tuple=True)
            parts.append((located.row[here[i]], mine[j], density[i, j]))
        row, column, value = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        shape = (located.x.shape[0], self.chart.numel())
        return coo_array((value, (row, column)), shape=shape).tocsr()


def _shrink(chart: Chart, z: Tensor, L: Tensor) -> Tensor:
    """Scale each L up until the ellipsoid |L (y - z)| <= 1 is in the (convex) domain."""
    d = z.shape[-1]
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(64 * d, d, dtype=z.dtype, generator=generator)
    sphere = nn.functional.normalize(g, dim=-1)
    ellipsoid = torch.linalg.solve(L, sphere.mT.expand(z.shape[0], d, -1)).mT
    scale = torch.ones(z.shape[0], dtype=z.dtype)
    for _ in range(60):
        inside = (chart.domain.depth(z[:, None] + ellipsoid / scale[:, None, None]) > 1e-3).all(-1)
        if bool(inside.all()):
            return L * scale[:, None, None]
        scale = torch.where(inside, scale, 1.1 * scale)
    return L * torch.where(scale < 100, scale, math.nan)[:, None, None]  # no room


class _EM:
    """EM for the weights v of a mixture of known densities, at rows with given rates.

    It maximises sum_i rate_i log (design v)_i; rows that no component reaches have no influence.
    """

    def __init__(self, design: Any, rate: np.ndarray, v: np.ndarray) -> None:
        self.design, self.rate, self.v = design, rate, v

    def run(self, steps: int) -> _EM:
        """Itself, after so many steps."""
        for _ in range(steps):
            self.step()
        return self

    def step(self) -> None:
        """v_c <- v_c sum_i rate_i design_ic / (design v)_i, normalised."""
        p = self.design @ self.v
        v = self.v * (self.design.T @ np.divide(self.rate, p, out=np.zeros_like(p), where=p > 0))
        self.v = v / v.sum()

    def stop_early(self, held_out: Any) -> tuple[float, int]:
        """Step until the mean log density of the held-out rows stops growing; best, and when.

        It has stopped when five steps in a row gain less than 3e-5 nats.
        """
        best, at = -math.inf, 0
        for i in range(_MAX_STEPS + 1):
            # rows that no component reaches will have the floor, not 0
            score = float(np.log(np.maximum(held_out @ self.v, 1e-12)).mean())
            if score > best + 3e-5:
                best, at = score, i
            elif i - at >= 5:
                break
            self.step()
        return best, at
