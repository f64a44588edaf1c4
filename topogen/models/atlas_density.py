"""Learned distributions on an atlas."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .. import calculus
from ..distributions.bumps import BumpMixture, bump_densities, draw_bumps
from ..errors import AtlasError, InvalidPoints
from ..manifolds.atlas import Atlas
from ..manifolds.charts import Chart
from ..point_cloud.landmarks import farthest_points
from ..point_cloud.tensors import as_tensor
from .base import LearnedDistribution, Stage, part_stages

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# How many bumps carry the density; radius of a bump over the covering radius of their centres.
_BUMPS = {1: 400, 2: 2000}
_BUMPS_ABOVE = 4000
_OVERLAP = 4.0
# Kernels that tie the weights of the bumps together: how many, and their width over the covering
# radius of their centres. With the share of pseudo-data they are chosen on held-out points.
_KERNELS = (12, 25, 50, 100, 200, 400)
_KERNEL_WIDTH = 1.0
_SHARES = (0.003, 0.03, 0.3)
_HELD_OUT = 0.1
_MAX_STEPS = 300
# EM stops when five steps in a row gain less than this many nats
_GAIN = 3e-5
_PATIENCE = 5
# EM steps that fit the uniform distribution, where every density starts: few for the many bumps,
# which would follow single quadrature nodes
_FLAT_STEPS = 4
_SPREAD_STEPS = 30
# quadrature nodes that stand for the uniform distribution; about half of them have weight
_NODES = {1: 1000, 2: 5000}
_NODES_ABOVE = 12_000
# draws of every bump that tell whether an edge cuts it, and of those that are cut
_DRAWS = (8, 128)
# nodes along an axis of every chart for the mass on a set with edges
_EDGE_NODES = {1: 96, 2: 24, 3: 10}
# mass spread over whole charts, so that no place covered by one has density 0
_FLOOR = 1e-3


class AtlasDensity(LearnedDistribution):
    r"""An exact density on the manifold of an atlas, learned from points.

    ``distribution="bumps"`` is a :class:`~topogen.distributions.bumps.BumpMixture`: many small
    bumps, round in the metric of M, each inside one chart. Their weights are tied by wider kernels
    :math:`\kappa_c` about fewer centres, :math:`w_j = \sum_c v_c\, \kappa_c(j)`, so the density
    may be smoother than a chart is large. Only v is learned, by EM from the uniform distribution;
    it maximises the concave

    .. math:: \tfrac1n \sum_i \log p(x_i) + \alpha\, \mathrm{E}_{\mathrm{Unif}(M)} \log p .

    The number of kernels, the share :math:`\alpha` of pseudo-data uniform on M, and the number of
    EM steps are those that do best on a held-out tenth of the points. One thousandth of the mass
    is spread over whole charts, so that p > 0 wherever a chart is defined. Where M ends inside its
    charts every bump counts by the share of it that lies on M.

    Args:
        atlas: the charts; fitted first if it has not been.
        distribution: the family of densities; "bumps".

    Raises:
        ValueError: an unknown distribution.

    Attributes:
        held_out: mean log density of the held-out points at the chosen setting, in nats w.r.t.
            H^d.
        floor: mass that is spread over whole charts.
        mass: share of the bumps on M, where M ends inside its charts; see :class:`BumpMixture`.
    """

    chart: Tensor
    z: Tensor
    L: Tensor
    weights: Tensor
    floor = _FLOOR
    _numbers = ("held_out", "mass", "log_z_error")

    def __init__(self, atlas: Atlas, distribution: str = "bumps") -> None:
        super().__init__()
        if distribution != "bumps":
            raise ValueError(f"expected distribution='bumps', got {distribution!r}")
        self.atlas, self.distribution = atlas, distribution
        self.held_out = math.nan
        self.mass, self.log_z_error = 1.0, 0.0
        for name in ("z", "L", "weights"):
            self.register_buffer(name, torch.empty(0, dtype=torch.float64))
        self.register_buffer("chart", torch.empty(0, dtype=torch.int64))

    def forward(self) -> BumpMixture:
        """The distribution at the current weights; points off the learned manifold get -inf, not an error."""
        self.require_fitted()
        return BumpMixture(
            self.atlas,
            self.chart,
            self.z,
            self.L,
            self.weights,
            mass=self.mass,
            log_z_error=self.log_z_error,
            validate_args=False,
        )

    def stages(self, points: Tensor) -> Iterator[Stage]:
        """The stages of an unfitted atlas, then the density."""
        yield from part_stages(points, self.atlas)
        if not self.fitted:
            yield Stage("density", lambda generator: self._fit(points, generator))

    def _fit(
        self, points: Tensor, generator: torch.Generator
    ) -> Generator[Mapping[str, float], None, bool]:
        M = self.atlas.manifold
        if M is None:
            raise AtlasError("expected an atlas with a manifold; pass Atlas(charts, manifold=M)")
        moved = M.project(as_tensor(points, ambient_dim=M.ambient_dim))
        x = moved.value[moved.converged]
        n = x.shape[0]
        if n < 20 or len(self.atlas) == 0:
            raise InvalidPoints(
                f"expected at least 20 points on the manifold and a chart, got {n} and "
                f"{len(self.atlas)}; give more points, or another dimension"
            )
        data = _Located.of(x, M.tangent_basis(x), self.atlas)
        yield {"points": n}
        nodes = _NODES.get(M.dim, _NODES_ABOVE)
        per_axis = max(4, round((2 * nodes / len(self.atlas)) ** (1 / M.dim)))
        q = self.atlas.quadrature(per_axis)
        uniform = _Located.of(q.points, q.frame, self.atlas)
        volume = (q.weights / q.weights.sum()).numpy()
        yield {"quadrature": q.points.shape[0]}

        order = torch.randperm(n, generator=generator)
        everywhere = data.with_rows(uniform)
        bumps = _Bumps.spread(
            everywhere, _BUMPS.get(M.dim, _BUMPS_ABOVE), int(order[0]), self.atlas
        )
        if bumps.chart.numel() == 0:
            raise InvalidPoints(
                f"expected charts with room for bumps, got none in {len(list(self.atlas))}: the "
                f"points fill no part of a set of dimension {M.dim}; give more different points, "
                "or another dimension"
            )
        on_M = bumps.shares(self.atlas, generator)
        at_data, at_uniform = (bumps.densities(p, on_M) for p in (data, uniform))
        held = order[: max(int(_HELD_OUT * n), 5)].numpy()
        kept = order[held.size :].numpy()
        # weights of the bumps that give the uniform distribution
        count = bumps.chart.numel()
        flat = _EM(at_uniform, volume, np.full(count, 1 / count))
        for _ in range(_FLAT_STEPS):
            flat.step()

        best = _Hyperparameters(-math.inf, np.empty((0, 0)), np.empty(0), 0.0, 0)
        for centres in _KERNELS:
            if centres > max(n // 8, _KERNELS[0]) or centres > count // 2:
                break
            kernels = _kernels(bumps.x, centres) * flat.v[:, None]
            mass = kernels.sum(axis=0)
            kernels = kernels[:, mass > 0] / mass[mass > 0]
            design = np.concatenate([at_data @ kernels, at_uniform @ kernels])
            spread = _EM(design[n:], volume, np.full(kernels.shape[1], 1 / kernels.shape[1]))
            for _ in range(_SPREAD_STEPS):
                spread.step()
            rows = np.concatenate([kept, np.arange(n, design.shape[0])])
            for share in _SHARES:
                rate = np.concatenate([np.full(kept.size, 1 / kept.size), share * volume])
                score, steps = _EM(design[rows], rate, spread.v).stop_early(design[held])
                yield {"kernels": kernels.shape[1], "share": share, "loss": -score}
                if score > best.score:
                    best = _Hyperparameters(score, kernels, spread.v, share, steps)
        if best.kernels.size == 0:
            raise InvalidPoints(
                f"expected room for {_KERNELS[0]} bumps in the charts, got {count}; "
                "give more points"
            )
        self.held_out, kernels = best.score, best.kernels
        rate = np.concatenate([np.full(n, 1 / n), best.share * volume])
        final = _EM(np.concatenate([at_data @ kernels, at_uniform @ kernels]), rate, best.start)
        for _ in range(best.steps):
            final.step()
        self._keep(bumps, torch.from_numpy(kernels @ final.v) / on_M)
        lost = self._normalise(bool((on_M < 1).any()), generator)
        yield {"loss": -self.held_out, "undecoded": lost}
        return best.steps < _MAX_STEPS

    def _normalise(self, cut: bool, generator: torch.Generator) -> float:
        """The mass on M, by quadrature where an edge cuts bumps; the share of lost draws."""
        distribution = self.forward()
        lost = distribution._propose(4096, generator).isnan().any(-1).double().mean().item()
        if not cut:
            self.log_z_error = -math.log1p(-min(lost, 0.999))
            return lost
        found = self.atlas.integrate(
            lambda x: distribution._log_prob(x).exp(), per_axis=_EDGE_NODES.get(self.atlas.dim, 8)
        )
        self.mass = max(float(found.value), 1e-3)
        self.log_z_error = float(found.error) / self.mass
        return lost

    def _keep(self, bumps: _Bumps, w: Tensor) -> None:
        """Store the bumps with a share 1 - floor of the mass, and one floor bump per chart."""
        charts = list(self.atlas)
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


class _Hyperparameters(NamedTuple):
    """A choice of kernels, pseudo-data and EM steps, and its mean held-out log density."""

    score: float
    kernels: np.ndarray
    start: np.ndarray
    share: float
    steps: int


@dataclass(frozen=True)
class _Located:
    """Points x of M, and one row per (point, chart that holds it)."""

    x: Tensor
    row: Tensor
    chart: Tensor
    z: Tensor
    J: Tensor

    @staticmethod
    def of(x: Tensor, Q: Tensor, atlas: Atlas) -> _Located:
        """Points x of M with tangent bases Q."""
        parts = []
        for k, chart in enumerate(atlas):
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
    def spread(data: _Located, count: int, first: int, atlas: Atlas) -> _Bumps:
        """Bumps about farthest points, each in the chart in which its centre lies deepest.

        L^T L is the metric of M there over the squared radius, so the bump is round on M; near the
        edge of its chart it is made smaller.
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
        L = torch.linalg.cholesky(J.mT @ J).mT / (_OVERLAP * h)
        for k, chart in enumerate(atlas):
            rows = data.chart[pair] == k
            L[rows] = _shrink(chart, data.z[pair[rows]], L[rows])
        kept = L.isfinite().all(-1).all(-1)
        pair, L = pair[kept], L[kept]
        return _Bumps(data.x[data.row[pair]], data.chart[pair], data.z[pair], L)

    def shares(self, atlas: Atlas, generator: torch.Generator) -> Float[Tensor, " J"]:
        """The share of every bump that lies on M; 1 where M does not end inside its charts."""
        share = self.z.new_ones(len(self.z))
        if atlas.in_domain is None:
            return share
        cut = torch.arange(len(self.z))
        for draws in _DRAWS:
            j = cut.repeat_interleave(draws)
            x = draw_bumps(atlas, self.chart[j], self.z[j], self.L[j], generator)
            kept = (~x.isnan().any(-1)).reshape(-1, draws).to(share).mean(1)
            share[cut] = kept.clamp_min(1 / draws)
            cut = cut[kept < 1]
        return share

    def densities(self, located: _Located, share: Float[Tensor, " J"]) -> csr_array:
        """Sparse (points x bumps) matrix of densities w.r.t. H^d, of which a share is on M."""
        from scipy.sparse import coo_array

        log_volume = calculus.log_gram(located.J)
        rows, columns, values = [], [], []
        for k in self.chart.unique().tolist():
            mine = (self.chart == k).nonzero().squeeze(-1)
            here = (located.chart == k).nonzero().squeeze(-1)
            density = bump_densities(located.z[here], self.z[mine], self.L[mine])
            density = density * (-log_volume[here]).exp().unsqueeze(-1) / share[mine]
            i, j = density.nonzero(as_tuple=True)
            rows.append(located.row[here[i]])
            columns.append(mine[j])
            values.append(density[i, j])
        return coo_array(
            (torch.cat(values).numpy(), (torch.cat(rows).numpy(), torch.cat(columns).numpy())),
            shape=(located.x.shape[0], self.chart.numel()),
        ).tocsr()


def _kernels(x: Tensor, count: int) -> np.ndarray:
    """Gaussian kernels at the points x about `count` farthest of them, shape (J, count)."""
    centres, radius = farthest_points(x.numpy(), count, 0)
    distance = torch.cdist(x, x[torch.from_numpy(centres)])
    return torch.exp(-0.5 * (distance / (_KERNEL_WIDTH * radius[-1])).square()).numpy()


def _shrink(chart: Chart, z: Tensor, L: Tensor) -> Tensor:
    """Scale each L up until the ellipsoid |L (y - z)| <= 1 is in the (convex) domain."""
    d = z.shape[-1]
    generator = torch.Generator().manual_seed(0)
    g = torch.randn(64 * d, d, dtype=z.dtype, generator=generator)
    sphere = g / g.norm(dim=-1, keepdim=True)
    rim = torch.linalg.solve(L, sphere.mT.expand(z.shape[0], d, -1)).mT
    scale = torch.ones(z.shape[0], dtype=z.dtype)
    for _ in range(60):
        inside = (chart.domain.depth(z[:, None] + rim / scale[:, None, None]) > 1e-3).all(-1)
        if bool(inside.all()):
            return L * scale[:, None, None]
        scale = torch.where(inside, scale, 1.1 * scale)
    return L * torch.where(scale < 100, scale, math.nan)[:, None, None]  # no room at the edge


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
        """Step until the mean log density of the held-out rows stops growing; best, and when."""
        best, at = -math.inf, 0
        for i in range(_MAX_STEPS + 1):
            # rows that no component reaches will have the floor, not 0
            score = float(np.log(np.maximum(held_out @ self.v, 1e-12)).mean())
            if score > best + _GAIN:
                best, at = score, i
            elif i - at >= _PATIENCE:
                break
            self.step()
        return best, at
