"""Points that do not lie on the set that the others sample: found, and left out if it helps."""

from __future__ import annotations

import math

import numpy as np

from ...point_cloud.knn import neighbour_distance, neighbours
from ...point_cloud.landmarks import holdout_gap

NEIGHBOURS = 15
LONELY, BESIDE = 1.7, 1.2  # local outlier factors: alone, or beside a set that is clearly flat
OFF_PLANE, FAR_OFF = 0.2, 0.5  # distances from the neighbours' plane over r_k
HOLLOW = 0.6  # nearest neighbour over 15th: an empty ball around the point
SIGMAS = 3.0
MOST_OUTLIERS = 0.15
SUSPECTS = (0.1, 0.25, 0.5)  # suspects per outlier found
WORTH = 0.8  # trimming must bring the hold-out gap below this share of itself


def trim_outliers(x: np.ndarray, dim: int, seed: int) -> np.ndarray:
    r"""The rows that stay when outliers are left out: all of them unless that closes real gaps.

    An outlier is lonelier than its neighbours and does not continue their set. With :math:`r_j`
    the distance to the j-th neighbour :math:`y_j`, P the best affine `dim`-plane of the first k =
    15, s their root-mean-square distance from it, :math:`h = \mathrm{dist}(x, P)` and :math:`f =
    r_k(x) / \mathrm{median}_j\, r_k(y_j)`, the point x is one when

    .. math:: f > 1.7 \text{ and } \bigl(\max(h, s) > r_k/5 \text{ or } r_1 > 0.6\, r_k\bigr),
        \quad\text{or}\quad f > 1.2 \text{ and } h > \max(r_k/2, 3 s).

    The thin tail of a density is lonely but lies on the set; the middle of a tube, whose
    neighbours are a ring, has nobody near. The tests are repeated until nothing is found; up to
    half as many of the loneliest points may go with them. The result counts only when the hold-out
    gap, which sets the scale of the landmarks, falls by a fifth or more.

    f is a form of the local outlier factor (Breunig, Kriegel, Ng and Sander, 2000,
    https://doi.org/10.1145/335191.335388).

    Returns:
        sorted indices of the rows kept.
    """
    everything = np.arange(len(x))
    keep = everything
    while len(keep) > 2 * NEIGHBOURS:
        y = x[keep]
        distance, index = neighbours(y, NEIGHBOURS)
        r = distance[:, -1]
        f = r / np.maximum(np.median(r[index], axis=1), 1e-300)
        some = np.flatnonzero(f > BESIDE)
        h, s = _off_plane(y, some, index[some], dim)
        r_k, r_1 = r[some], distance[some, 0]
        lonely = (f[some] > LONELY) & ((np.maximum(h, s) > OFF_PLANE * r_k) | (r_1 > HOLLOW * r_k))
        out = some[lonely | ((h > FAR_OFF * r_k) & (h > SIGMAS * s))]
        if len(out) == 0:
            break
        keep = np.delete(keep, out)
        if len(keep) < (1 - MOST_OUTLIERS) * len(x):
            return everything
    if len(keep) == len(x):
        return everything
    # a few outliers look regular; where there are some, the loneliest points are suspects too
    count = len(x) - len(keep)
    order = np.argsort(neighbour_distance(x[keep], NEIGHBOURS), kind="stable")
    chosen = [everything, keep]
    for share in SUSPECTS:
        chosen.append(np.sort(keep[order[: len(keep) - math.ceil(share * count)]]))
    gaps = [holdout_gap(x[rows], np.random.default_rng(seed)) for rows in chosen]
    best = int(np.argmin(gaps))
    return chosen[best] if gaps[best] < WORTH * gaps[0] else everything


def _off_plane(
    x: np.ndarray, rows: np.ndarray, index: np.ndarray, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """(h, s) of some rows of x: distances from the `dim`-plane of their neighbours."""
    if len(rows) == 0 or dim >= x.shape[1]:
        return np.zeros(len(rows)), np.zeros(len(rows))
    near = x[index]
    centre = near.mean(axis=1, keepdims=True)
    axes = np.linalg.svd(near - centre, full_matrices=False)[2][:, :dim]
    both = np.concatenate([x[rows][:, None], near], axis=1) - centre
    both -= (both @ np.swapaxes(axes, 1, 2)) @ axes
    off = np.linalg.norm(both, axis=2)
    return off[:, 0], np.sqrt((off[:, 1:] ** 2).mean(axis=1))
