"""Distances along a cloud, by a random walk on its nearest neighbours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import InvalidPoints
from ..points import diameter
from .landmarks import Cloud, neighbours

NEIGHBOURS = 15
STEPS = 8
COORDINATES = 40


def diffusion_cloud(cloud: Cloud, *, seed: int = 0) -> Cloud:
    r"""The cloud in coordinates whose Euclidean distances are diffusion distances.

    A walk on the symmetric graph of k = 15 nearest neighbours has the transition matrix :math:`P
    = D^{-1} A`, with eigenvalues :math:`1 = \mu_0 \ge \mu_1 \ge \dots` and eigenvectors
    :math:`D^{-1/2} u_l`. After t = 8 steps

    .. math:: |\Psi(i) - \Psi(j)|^2 = \sum_m \frac{(P^t_{im} - P^t_{jm})^2}{D_m}, \qquad
        \Psi(i) = D_i^{-1/2} \left(\mu_l^t\, u_l(i)\right)_{l \ge 1},

    of which the 40 slowest coordinates are kept. Noise in many dimensions adds about the same to
    all Euclidean distances but little to these (Coifman and Lafon, 2006,
    https://doi.org/10.1016/j.acha.2006.04.006; Damrich, Berens and Kobak, 2024,
    https://arxiv.org/abs/2311.03087). Only the largest connected part of the graph is kept, with a
    remark.

    Raises:
        InvalidPoints: in the largest part every point is a neighbour of every other.
    """
    from scipy.sparse import csr_array, diags_array
    from scipy.sparse.csgraph import connected_components
    from scipy.sparse.linalg import eigsh

    x = cloud.points
    n, k = len(x), min(NEIGHBOURS, len(x) - 1)
    near = neighbours(x, k)[1]
    A = csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), near.ravel())), shape=(n, n))
    A = A.maximum(A.T).tocsr()
    label = connected_components(A, directed=False)[1]
    rows = np.flatnonzero(label == np.bincount(label).argmax())
    if len(rows) <= NEIGHBOURS + 1:
        raise InvalidPoints(
            f"expected a connected cloud of more than {NEIGHBOURS + 1} points for diffusion "
            f"distances, got parts of at most {len(rows)} points; use metric='euclidean'"
        )
    if len(rows) < n:
        cloud = cloud.only(rows, f"diffusion distances: the largest part, {len(rows)} points")
        A = A[rows][:, rows]
        n = len(rows)
    D = np.asarray(A.sum(axis=1)).ravel()
    root = diags_array(D**-0.5)
    count = min(COORDINATES + 1, n - 2)
    start = np.random.default_rng(seed).standard_normal(n)
    mu, u = eigsh(root @ A @ root, k=count, which="LA", v0=start)
    order = np.argsort(-mu)[1:]
    psi = (u[:, order] * np.maximum(mu[order], 0.0) ** STEPS) / np.sqrt(D)[:, None]
    length = diameter(psi)
    return replace(
        cloud,
        points=psi / length,
        unit=length,
        remarks=(*cloud.remarks, "diffusion distances: scale and diagrams are no lengths"),
    )
