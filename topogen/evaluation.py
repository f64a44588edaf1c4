"""Numbers that need no ground truth, measured of a learned distribution on its own samples."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .distributions.base import ManifoldDistribution
from .manifolds.atlas import BaseAtlas
from .models.base import LearnedDistribution
from .models.local_polynomials import LocalPolynomials
from .point_cloud.arrays import diameter


def measure(
    model: LearnedDistribution, samples: Tensor, points: np.ndarray
) -> dict[str, float | str]:
    """Numbers that need no ground truth: distances to M, normalisation, held-out NLL."""
    distribution = model()
    M, size, x = distribution.manifold, diameter(points), torch.from_numpy(points)
    on, data = M.project(samples), M.project(x)
    moved = (data.value - x).norm(dim=-1)[data.converged]
    numbers: dict[str, float | str] = {
        "dimension": float(M.dim),
        "samples off M (unconverged)": float((~on.converged).sum()),
        "sample residual, worst, % of diameter": 100 * float(on.residual.max()) / size,
        "data off M (unconverged)": float((~data.converged).sum()),
        "data to M, median, % of diameter": 100 * float(moved.median()) / size,
        "data to M, 99 %, % of diameter": 100 * float(moved.quantile(0.99)) / size,
    }
    for part in model.modules():
        if isinstance(part, LocalPolynomials) and not math.isnan(part.lost):
            numbers["held-out points off M, %"] = 100 * part.lost
    atlas = distribution.own_atlas()
    if atlas is not None:
        numbers["charts"] = float(len(atlas))
        if M.dim <= 3:
            numbers |= _integrals(atlas, distribution)
    return numbers | model.measurements()


def _integrals(atlas: BaseAtlas, distribution: ManifoldDistribution) -> dict[str, float | str]:
    """Volume of M, mass of the distribution, and whether M is orientable, by quadrature.

    The even and the odd nodes of the grids are two rules; what they differ by estimates the error.
    """
    nodes = 20_000 if atlas.ambient_dim <= 8 else 10_000  # a second or two
    per_axis = min(200, max(8, round((nodes / len(atlas)) ** (1 / atlas.dim))))
    q = atlas.quadrature(per_axis)
    p = distribution.log_prob_on(q.points, q.frame).exp()
    corners = [chart.domain.bounding_box() for chart in atlas]
    low, high = (torch.stack(corner)[q.chart] for corner in zip(*corners, strict=True))
    index = ((q.latent - low) / (high - low) * per_axis).floor()
    sign = 1 - 2 * torch.remainder(index.sum(-1), 2)
    orientable = atlas.orientation(q.points, tangent=q.frame).orientable
    return {
        "volume of M": float(q.weights.sum()),
        "volume of M, error": 2 * abs(float(q.weights @ sign)),
        "integral of p": float(q.weights @ p),
        "integral of p, error": 2 * abs(float((q.weights * p) @ sign)),
        "orientable": {True: "yes", False: "no", None: "unknown"}[orientable],
    }
