"""Charts of an implicit surface that are graphs over planes and over tori."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ... import calculus
from ...calculus import RowMap
from ...errors import AtlasError
from ..charts import Ball, Box, Chart, Domain
from .base import sphere_tangents, unit
from .parametrized import wrap


class GraphChart(Chart):
    r"""The graph psi(z) = p(z) + h(z) e(z) of {F = 0} in R^3 along a field of directions e.

    h solves F(psi(z)) = 0 by Newton's method along e. The last two Newton steps are
    differentiated, which makes first and second derivatives of psi exact.

    Args:
        F: defining function, (..., 3) to (..., 1).
        rays: z to (p, e), row-wise.
        coordinates: x to (z, h) with x = p(z) + h e(z), row-wise.
        domain: where each ray cuts M once within reach, at an angle.
        reach: the largest |h| in the image.
    """

    ambient_dim = 3

    def __init__(
        self,
        F: RowMap,
        rays: Callable[[Tensor], tuple[Tensor, Tensor]],
        coordinates: Callable[[Tensor], tuple[Tensor, Tensor]],
        *,
        domain: Domain,
        reach: float,
    ) -> None:
        super().__init__()
        self.F, self.rays, self.coordinates = F, rays, coordinates
        self.domain, self.reach = domain, float(reach)

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        p, e = self.rays(z)

        def newton(h: Tensor, p: Tensor, e: Tensor) -> Tensor:
            f, slope = calculus.jvp(self.F, p + h * e, e)
            # the slope is bounded away from 0 over the domain; beyond it only finite values matter
            return h - (f / torch.where(slope.abs() > 1e-3, slope, 1e-3)).clamp(-0.2, 0.2)

        h = torch.zeros_like(p[..., :1]).detach()
        for _ in range(5):
            h = newton(h, p.detach(), e.detach()).detach()
        for _ in range(2):
            h = newton(h, p, e)
        return p + h * e

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        z, h = self.coordinates(x)
        return z, self.domain.contains(z) & (h.abs() < self.reach)


def tangent_graph(F: RowMap, c: Float[Tensor, " 3"], radius: float, reach: float) -> GraphChart:
    """The graph over a disc of the tangent plane at the point c of {F = 0}, along the normal."""
    n = unit(calculus.jacobian(F, c, mode="reverse").squeeze(-2)).detach()
    E = sphere_tangents(n)

    def rays(z: Tensor) -> tuple[Tensor, Tensor]:
        p = c.to(z) + z @ E.mT.to(z)
        return p, n.to(z).expand(p.shape).contiguous()

    def coordinates(x: Tensor) -> tuple[Tensor, Tensor]:
        y = x - c.to(x)
        return y @ E.to(x), y @ n.to(x)

    return GraphChart(F, rays, coordinates, domain=Ball(2, radius), reach=reach)


def tube_graph(
    F: RowMap,
    *,
    R: float,
    r: float,
    centre: float,
    angles: tuple[float, float],
    half: tuple[float, float],
    reach: float,
) -> GraphChart:
    """The graph over a box of angles (u, v) of a ring torus, along its normal.

    Args:
        F: defining function.
        R: radius of the core circle.
        r: radius of the tube.
        centre: first coordinate of the centre of the torus; its axis is the third one, moved.
        angles: the middle of the box, in degrees.
        half: half its sides, in degrees.
        reach: the largest distance from the torus.
    """
    u0, v0 = map(math.radians, angles)
    high = [*map(math.radians, half)]

    def rays(z: Tensor) -> tuple[Tensor, Tensor]:
        u, v = z[..., 0] + u0, z[..., 1] + v0
        e = torch.stack([v.cos() * u.cos(), v.cos() * u.sin(), v.sin()], -1)
        core = torch.stack([centre + R * u.cos(), R * u.sin(), torch.zeros_like(u)], -1)
        return core + r * e, e

    def coordinates(x: Tensor) -> tuple[Tensor, Tensor]:
        a, b, c = x[..., 0] - centre, x[..., 1], x[..., 2]
        radial = torch.hypot(a, b) - R
        u, v = wrap(torch.atan2(b, a), u0) - u0, wrap(torch.atan2(c, radial), v0) - v0
        return torch.stack([u, v], -1), torch.hypot(radial, c) - r

    domain = Box([-h for h in high], high)
    return GraphChart(F, rays, coordinates, domain=domain, reach=reach)


def graph_cover(
    F: RowMap,
    points: Float[Tensor, "n 3"],
    known: list[GraphChart],
    *,
    radius: float,
    reach: float,
    candidates: int = 1000,
    depth: float = 0.3,
    slope: float = 2.0,
) -> list[GraphChart]:
    r"""The known charts and few tangent graphs that cover a dense sample of {F = 0}.

    About each candidate centre the disc is as large as it can be, up to `radius`, with all of the
    surface in its cylinder steeper than `slope` kept out. Of these the disc with most points not
    covered yet is taken, again and again.

    Args:
        F: defining function.
        points: a sample of M, so dense that discs of depth `depth` about it leave no gap.
        known: charts that cover a part already.
        radius: the largest radius of a disc.
        reach: half the height of all cylinders.
        candidates: how many of the points that are not covered are tried as centres.
        depth: :math:`1 - |u|^2/radius^2` that each point has in some chart.
        slope: largest |Dh| allowed.

    Raises:
        AtlasError: the candidates do not cover the points.
    """
    charts = list(known)
    for chart in known:
        z, inside = chart._encode(points)
        points = points[~(inside & (chart.domain.depth(z) >= depth))]
    normals = unit(calculus.jacobian(F, points, mode="reverse").squeeze(-2))
    least = (1 + slope**2) ** -0.5
    candidates = min(candidates, points.shape[0])
    covered = torch.zeros(candidates, points.shape[0])  # 0 or 1
    radii = torch.zeros(candidates, dtype=torch.float64)
    for i in range(candidates):
        y = points - points[i]
        w = y @ normals[i]
        u2 = ((y * y).sum(-1) - w * w).clamp_min(0)
        near = w.abs() < 1.1 * reach
        steep = near & (normals @ normals[i] < least)
        limit = float(u2[steep].amin().sqrt()) if bool(steep.any()) else radius
        radii[i] = min(radius, 0.95 * limit)
        covered[i] = near & (w.abs() < reach) & (u2 < (1 - depth) * radii[i] ** 2)
    missing = torch.ones(points.shape[0])
    while bool(missing.any()):
        gain = covered @ missing
        best = int(gain.argmax())
        if gain[best] == 0:
            raise AtlasError(
                f"expected {candidates} candidate discs to cover the surface, got "
                f"{int(missing.sum())} of {missing.numel()} points uncovered; "
                "raise candidates, radius or slope"
            )
        missing = missing * (1 - covered[best])
        charts.append(tangent_graph(F, points[best], float(radii[best]), reach))
    return charts
