"""Distances along a cloud, by a random walk on its nearest neighbours."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...errors import InvalidPoints
from ...point_cloud.arrays import diameter
from ...point_cloud.cloud import Cloud
from ...point_cloud.knn import component_labels, neighbour_graph
from .landmark_rips import LEAST_SHARE


def diffusion_cloud(
    cloud: Cloud, *, seed: int = 0, coordinates: int = 60, slow: int = 9, faded: float = 0.1
) -> Cloud:
    r"""The cloud in coordinates whose Euclidean distances are diffusion distances.

    A walk on the symmetric graph of :math:`k = \sqrt n` nearest neighbours has the transition
    matrix :math:`P = D^{-1} A`, with eigenvalues :math:`1 = \mu_0 \ge \mu_1 \ge \dots` and
    eigenvectors :math:`D^{-1/2} u_l`. After t steps

    .. math:: |\Psi(i) - \Psi(j)|^2 = \sum_m \frac{(P^t_{im} - P^t_{jm})^2}{D_m}, \qquad
        \Psi(i) = D_i^{-1/2} \left(\mu_l^t\, u_l(i)\right)_{l \ge 1},

    of which the slowest coordinates are retained; t is such that one of them has faded to a tenth
    of the first. Noise in many dimensions hardly changes these distances; handles that only faster
    modes see are lost. After Damrich, Berens and Kobak, 2024 (https://arxiv.org/abs/2311.03087)
    and Coifman and Lafon, 2006 (https://doi.org/10.1016/j.acha.2006.04.006).

    Args:
        cloud: at least 50 points.
        seed: of the first vector of the eigensolver.
        coordinates: how many are retained.
        slow: number of the coordinate that has faded.
        faded: its weight, as a share of that of the first.

    Raises:
        InvalidPoints: the graph is not connected but for stray points, or too small.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh

    x = cloud.points
    n = len(x)
    if n < 50:
        raise InvalidPoints(
            f"expected at least 50 distinct points for diffusion distances, got {n}; "
            "use metric='euclidean'"
        )
    A = neighbour_graph(x, math.isqrt(n))
    label = component_labels(n, *A.nonzero())
    size = np.bincount(label)
    rows = np.flatnonzero(label == size.argmax())
    if len(rows) < (1 - LEAST_SHARE) * n:
        raise InvalidPoints(
            f"expected a connected cloud for diffusion distances, got {len(size)} parts of up to "
            f"{len(rows)} of {n} points; check the parts one by one "
            "(topogen.topology.connected_components), or use metric='euclidean'"
        )
    if len(rows) < n:
        cloud = cloud.only(rows, f"{n - len(rows)} stray points left out")
        A, n = A[rows][:, rows], len(rows)
    D = np.asarray(A.sum(axis=1)).ravel()
    root = diags(D**-0.5)
    start = np.random.default_rng(seed).standard_normal(n)
    mu, u = eigsh(root @ A @ root, k=min(coordinates + 1, n - 2), which="LA", v0=start)
    order = np.argsort(-mu)[1:]
    mu, u = np.maximum(mu[order], 0.0), u[:, order]
    t = -math.log(faded) / max(math.log(mu[0] / max(mu[slow - 1], 1e-12)), 1e-12)
    psi = u * (mu / mu[0]) ** t / np.sqrt(D)[:, None]
    length = diameter(psi)
    remarks = (*cloud.remarks, "diffusion distances: scale and diagrams are no lengths")
    return replace(cloud, points=psi / length, unit=length, remarks=remarks)
