"""Charts of an implicit surface that are graphs over its tangent planes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ... import calculus
from ...calculus import RowMap
from ...errors import AtlasError
from ..charts import Ball, Chart
from .base import sphere_tangents, unit


class GraphChart(Chart):
    r"""Monge chart psi(u) = c + E u + h(u) n of {F = 0} in R^3, over a tangent disc at c.

    h solves F(psi(u)) = 0 by Newton's method along the normal n. The image is the part of M in the
    cylinder |E^T (x - c)| < radius, |n . (x - c)| < height, where M must be one graph. The last
    two Newton steps are differentiated, which makes first and second derivatives of psi exact.

    Args:
        F: defining function, (..., 3) to (..., 1).
        c: a point of M.
        radius: of the disc.
        height: half the height of the cylinder.
    """

    c: Tensor
    E: Tensor
    n: Tensor
    ambient_dim = 3

    def __init__(self, F: RowMap, c: Float[Tensor, 3], radius: float, height: float) -> None:
        super().__init__()
        self.F = F
        self.domain = Ball(2, radius)
        self.height = float(height)
        n = unit(calculus.jacobian(F, c, mode="reverse").squeeze(-2))
        for name, value in (("c", c), ("n", n), ("E", sphere_tangents(n))):
            self.register_buffer(name, value.detach())

    def _decode(self, z: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch D"]:
        c, E, n = self.c.to(z), self.E.to(z), self.n.to(z)
        base = c + z @ E.mT

        def newton(h: Tensor, base: Tensor) -> Tensor:
            f, slope = calculus.jvp(self.F, base + h * n, n.expand(base.shape))
            # the slope is bounded away from 0 over the disc; beyond it only finite values matter
            move = f / torch.where(slope.abs() > 1e-3, slope, 1e-3)
            return h - move.clamp(-self.height, self.height)

        h = torch.zeros_like(base[..., :1]).detach()
        for _ in range(12):
            h = newton(h, base.detach()).detach()
        for _ in range(2):
            h = newton(h, base)
        return base + h * n

    def _encode(
        self, x: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch d"], Bool[Tensor, "*batch"]]:
        y = x - self.c.to(x)
        z = y @ self.E.to(x)
        inside = self.domain.contains(z) & ((y @ self.n.to(x)).abs() < self.height)
        return z, inside


def graph_cover(
    F: RowMap,
    points: Float[Tensor, "n 3"],
    *,
    radius: float,
    height: float,
    candidates: int = 1000,
    depth: float = 0.3,
    slope: float = 2.0,
) -> list[GraphChart]:
    r"""Few graph charts of {F = 0} that cover a dense sample, each point at some depth or more.

    About each candidate centre the disc is as large as it can be, up to `radius`, with all of the
    surface in its cylinder steeper than `slope` kept out. Centres are then chosen greedily, each
    time the one whose disc takes in most points not covered yet.

    Args:
        F: defining function.
        points: a sample of M, so dense that discs of depth `depth` about it leave no gap.
        radius: the largest radius of a disc.
        height: half the height of all cylinders.
        candidates: how many of the points are tried as centres.
        depth: :math:`1 - |u|^2/radius^2` that each point has in some chart.
        slope: largest |Dh| allowed.

    Raises:
        AtlasError: the candidates do not cover the points.
    """
    normals = unit(calculus.jacobian(F, points, mode="reverse").squeeze(-2))
    least = (1 + slope**2) ** -0.5
    covered = torch.zeros(candidates, points.shape[0])  # 0 or 1
    radii = torch.zeros(candidates, dtype=torch.float64)
    for i in range(candidates):
        y = points - points[i]
        w = y @ normals[i]
        u2 = ((y * y).sum(-1) - w * w).clamp_min(0)
        near = w.abs() < 1.1 * height
        steep = near & (normals @ normals[i] < least)
        limit = float(u2[steep].amin().sqrt()) if bool(steep.any()) else radius
        radii[i] = min(radius, 0.95 * limit)
        covered[i] = near & (w.abs() < height) & (u2 < (1 - depth) * radii[i] ** 2)
    charts: list[GraphChart] = []
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
        charts.append(GraphChart(F, points[best], float(radii[best]), height))
    return charts
