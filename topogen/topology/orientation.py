"""Whether the set that a cloud samples is orientable, from signs between tangent frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .dimension import dimension_of
from .landmarks import farthest_points, nearest, neighbours, prepare

ORIENTABLE_BELOW = 0.10
NON_ORIENTABLE_ABOVE = 0.18
MOST_LANDMARKS = 1000


@dataclass(frozen=True)
class Orientability:
    """Whether a cloud's set is orientable.

    Attributes:
        orientable: True, False, or None where the signs do not settle it.
        ratio: lambda_0 (signed) / lambda_1 (unsigned), largest over components; 0 when orientable.
        frames: fraction of edges whose tangent frames match, |det| > 1/2.
        dim: the dimension d of the tangent frames.
        reason: one sentence.

    Example:
        >>> t = np.random.default_rng(0).random(400) * 2 * np.pi
        >>> orientability(np.stack([np.cos(t), np.sin(t)], axis=1)).orientable
        True
    """

    orientable: bool | None
    ratio: float
    frames: float
    dim: int
    reason: str


def orientability(points: Any, *, dim: int | None = None, seed: int = 0) -> Orientability:
    r"""Test orientability by the signed Laplacian of tangent frames.

    At landmarks i the d leading principal axes :math:`T_i` of the nearest points span the tangent
    plane; an edge carries the weight :math:`w_{ij} = |\det T_i^T T_j|^3` and the sign
    :math:`s_{ij} = \mathrm{sign} \det T_i^T T_j`. The set is orientable iff s is a coboundary,
    :math:`s_{ij} = \sigma_i \sigma_j`, iff the least eigenvalue :math:`\lambda_0` of the signed
    normalised Laplacian :math:`1 - D^{-1/2} (s w) D^{-1/2}` is zero; it is measured against
    :math:`\lambda_1` of the unsigned one: 0 up to sampling against about 1/4 (a long Moebius band)
    or more. After Singer and Wu, 2011, "Orientability and diffusion maps"
    (https://arxiv.org/abs/1001.0736).

    Args:
        points: array-like, shape (n, D).
        dim: dimension of the set; estimated where not given.
        seed: of the first landmark.

    Raises:
        InvalidPoints: not a finite (n, D) array, or fewer than 10 distinct points.
        ValueError: dim < 1.
    """
    cloud = prepare(points, seed=seed)
    x = cloud.points
    d = dimension_of(cloud, seed=seed).dim if dim is None else dim
    if d < 1:
        raise ValueError(f"expected dim >= 1, got {dim}")
    if d >= x.shape[1]:
        return Orientability(
            True, 0.0, 1.0, d, f"an open part of R^{x.shape[1]} inherits its orientation"
        )
    n = len(x)
    m = min(MOST_LANDMARKS, max(10, n // 4))
    chosen, _ = farthest_points(x, m, int(np.random.default_rng(seed).integers(n)))
    marks = x[chosen]
    k_frame = min(n - 1, max(3 * d + 6, min(40, round(2.5 * n / m))))
    local = x[nearest(x, marks, k_frame + 1)[1]]
    local = local - local.mean(axis=1, keepdims=True)
    frame = np.linalg.svd(local, full_matrices=False)[2][:, :d]
    k_edge = min(m - 1, {1: 2, 2: 7, 3: 12}.get(d, 16))
    edges = np.zeros((m, m), dtype=bool)
    edges[np.arange(m)[:, None], neighbours(marks, k_edge)[1]] = True
    i, j = np.nonzero(np.triu(edges | edges.T, 1))
    det = np.linalg.det(frame[i] @ frame[j].transpose(0, 2, 1))
    frames = float((np.abs(det) > 0.5).mean())
    ratio = _frustration(m, i, j, det)
    if frames < 0.95:
        return Orientability(
            None, ratio, frames, d,
            f"only {frames:.0%} of neighbouring tangent frames match: too few points",
        )  # fmt: skip
    if ratio < ORIENTABLE_BELOW:
        return Orientability(
            True, ratio, frames, d, f"the signs are consistent (ratio {ratio:.3f})"
        )
    if ratio > NON_ORIENTABLE_ABOVE:
        return Orientability(
            False, ratio, frames, d, f"no choice of signs is consistent (ratio {ratio:.2f})"
        )
    return Orientability(
        None, ratio, frames, d,
        f"the ratio {ratio:.2f} settles nothing ({ORIENTABLE_BELOW} to {NON_ORIENTABLE_ABOVE}); "
        "give more points",
    )  # fmt: skip


def _frustration(m: int, i: np.ndarray, j: np.ndarray, det: np.ndarray) -> float:
    """Largest lambda_0(signed) / lambda_1(unsigned) over the components of the graph."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    signed = np.zeros((m, m))
    signed[i, j] = signed[j, i] = det
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(m, m))
    count, label = connected_components(graph, directed=False)
    worst = 0.0
    for c in range(count):
        rows = np.flatnonzero(label == c)
        if len(rows) < 5:
            continue
        S = signed[np.ix_(rows, rows)] ** 3
        W = np.abs(S)
        root = np.sqrt(np.maximum(W.sum(axis=1), 1e-12))
        identity = np.eye(len(rows))
        scale = np.outer(root, root)
        signed_0 = np.linalg.eigvalsh(identity - S / scale)[0]
        unsigned_1 = np.linalg.eigvalsh(identity - W / scale)[1]
        worst = max(worst, float(signed_0 / max(unsigned_1, 1e-9)))
    return max(worst, 0.0)
