"""Cross-barcodes: the homology that one cloud has and another, or its matched twin, has not."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...point_cloud.knn import distances
from ..persistence.rips import rips_bars
from .noise_floors import Score, one_frame, with_floor


def cross_barcode(P: np.ndarray, Q: np.ndarray, degree: int = 1, field: int = 2) -> np.ndarray:
    r"""Cross-Barcode(P, Q): topology of P that lies away from Q.

    The barcode of the Vietoris-Rips filtration of the union of P and Q in which all distances
    within Q are 0. Empty where Q contains P; for Q a far point, the barcode of P. No bar of degree
    >= 1 is longer than the largest distance of P to Q. Not symmetric.

    Args:
        P: points, shape (n, D).
        Q: points, shape (n', D).
        degree: of homology.
        field: a prime; homology is over Z/field.

    Returns:
        bars (birth, death), shape (b, 2), in the units of the points.
    """
    matrix = distances(np.concatenate([P, Q]))
    matrix[len(P) :, len(P) :] = 0.0
    return _bars(matrix, degree, field)


def r_cross_barcode(w: np.ndarray, v: np.ndarray, degree: int = 1, field: int = 2) -> np.ndarray:
    r"""R-Cross-Barcode(w, v) of two distance matrices on the same N points.

    The barcode of the filtered flag complex on 2N + 1 points with the distances

    .. math:: \begin{pmatrix} w & w_+^T & 0 \\ w_+ & \min(w, v) & \infty \\ 0 & \infty & 0
        \end{pmatrix},

    where :math:`w_+` is w with infinity above its diagonal: the cone of the inclusion of the
    complex of w into that of min(w, v). Empty where v >= w; not symmetric.

    Args:
        w: distances, shape (N, N).
        v: distances, shape (N, N), row by row of the same points.
        degree: of homology, of the cone; 1 sees components of w that v joins.
        field: a prime; homology is over Z/field.

    Returns:
        bars (birth, death), shape (b, 2).
    """
    plus = np.where(np.tri(len(w), dtype=bool), w, np.inf)
    zero, far = np.zeros((len(w), 1)), np.full((len(w), 1), np.inf)
    rows = [[w, plus.T, zero], [plus, np.minimum(w, v), far], [zero.T, far.T, np.zeros((1, 1))]]
    return _bars(np.block(rows), degree, field)


def _bars(matrix: np.ndarray, degree: int, field: int) -> np.ndarray:
    threshold = float(matrix[np.isfinite(matrix)].max())
    bars = rips_bars([matrix], threshold, [degree], field)[0][0]
    return bars[np.isfinite(bars[:, 1])]


def representation_divergence(w: np.ndarray, v: np.ndarray, degree: int = 1) -> float:
    r"""RTD of two distance matrices on the same points, the mean of its two directions.

    .. math:: \mathrm{RTD}(w, v) = \tfrac12 \sum_{(b, d)} (d - b), \quad
        (b, d) \in \text{R-Cross-Barcode}(w, v) \cup \text{R-Cross-Barcode}(v, w),

    each matrix divided by its own 90 % quantile first, so that scales do not matter. Symmetric.
    Follows Barannikov et al., 2022 (https://arxiv.org/abs/2201.00058).

    Args:
        w: distances, shape (N, N).
        v: distances, shape (N, N), row by row of the same points.
        degree: of homology.
    """
    upper = np.triu_indices(len(w), 1)
    w, v = w / np.quantile(w[upper], 0.9), v / np.quantile(v[upper], 0.9)
    both = (r_cross_barcode(w, v, degree), r_cross_barcode(v, w, degree))
    return sum(float((bars[:, 1] - bars[:, 0]).sum()) / 2 for bars in both)


def mtop_divergence(
    a: Any,
    b: Any,
    *,
    side: str = "missed",
    degree: int = 1,
    size: int = 1000,
    batch: int = 100,
    repeats: int = 5,
    seed: int = 0,
) -> Score:
    r"""Manifold topology divergence, the sum of the lengths of a cross-barcode.

    .. math:: \mathrm{MTop}(P, Q) = \mathrm{E} \sum_{(b, d) \in \text{Cross-Barcode}(P, Q)} (d - b)

    over random batches: P of few points, Q of many. With P the data and Q the samples ("missed")
    it sees what of the data the samples leave out, with P the samples and Q the data ("invented")
    what they have in excess. In the units of the points, invariant under isometries of both clouds
    together. Follows Barannikov et al., 2021 (https://arxiv.org/abs/2106.04024).

    Args:
        a: the data, array-like of shape (n, D).
        b: the samples, array-like of shape (n', D).
        side: "missed" or "invented".
        degree: of homology; over Z/2.
        size: points of Q, see :class:`Score`.
        batch: points of P.
        repeats: number of batches.
        seed: of the batches.

    Raises:
        InvalidPoints: not finite (n, D) arrays of the same D, or too few distinct points.
        ValueError: a number out of range.
    """
    if side not in ("missed", "invented"):
        raise ValueError(f'expected side "missed" or "invented", got {side!r}')
    if not 0 <= degree <= 2 or batch < 1:
        raise ValueError(f"expected 0 <= degree <= 2 and batch >= 1, got {degree} and {batch}")
    x, y, unit = one_frame(a, b, seed)

    def statistic(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> float:
        P, Q = (u, v) if side == "missed" else (v, u)
        bars = cross_barcode(P[:batch], Q, degree)
        return unit * float((bars[:, 1] - bars[:, 0]).sum())

    name = f"mtop_divergence ({side})"
    return with_floor(name, statistic, x, y, size=size, repeats=repeats, seed=seed)


def rtd(
    a: Any, b: Any, *, degree: int = 1, size: int = 200, repeats: int = 3, seed: int = 0
) -> Score:
    r"""Representation topology divergence of data and the samples matched to them.

    :func:`representation_divergence` needs pairs. Here (our addition) each point of a subsample of
    a is matched to one of b so that the sum of the distances is least. Symmetric in distribution,
    invariant under isometries and scalings of both clouds together. The matching adds much noise:
    at 200 points a hole torn into a torus does not show.

    Args:
        a: the data, array-like of shape (n, D).
        b: the samples, array-like of shape (n', D).
        degree: of homology; over Z/2.
        size: points per subsample, see :class:`Score`.
        repeats: number of subsamples.
        seed: of the subsamples.

    Raises:
        InvalidPoints: not finite (n, D) arrays of the same D, or too few distinct points.
        ValueError: a number out of range.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    if not 0 <= degree <= 2:
        raise ValueError(f"expected 0 <= degree <= 2, got {degree}")
    x, y, _ = one_frame(a, b, seed)

    def statistic(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> float:
        match = linear_sum_assignment(cdist(u, v))[1]
        return representation_divergence(distances(u), distances(v[match]), degree)

    return with_floor("rtd", statistic, x, y, size=size, repeats=repeats, seed=seed)
