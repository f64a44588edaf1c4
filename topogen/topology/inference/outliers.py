"""Points off the manifold that the others sample: found, and left out if it helps."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...point_cloud.frames import principal_axes
from ...point_cloud.knn import distances, nearest, neighbour_distance, neighbours
from ...point_cloud.landmarks import holdout_gap
from ..persistence.rips import rips_bars


def outliers(x: np.ndarray, dim: int, seed: int) -> np.ndarray:
    """The rows that are no part of the manifold that the others sample; none where all may be.

    Where some lie off it (:func:`off_manifold`), those that :func:`trim_outliers` leaves out as
    well. A lonely point in the tail of a density is none.
    """
    off = off_manifold(x, dim)
    if len(off) == 0:
        return off
    return np.union1d(off, np.setdiff1d(np.arange(len(x)), trim_outliers(x, dim, seed)))


def off_manifold(x: np.ndarray, dim: int, *, k: int = 15, most: float = 0.15) -> np.ndarray:
    r"""Rows that stand off the plane of their neighbours, or whose neighbours lie in none.

    In the letters of :func:`trim_outliers`: :math:`f > 1.2` and :math:`h > \max(r_k/2, 3s)`, or
    :math:`f > 1.7` and :math:`s > r_k/5`, repeated until nothing is found. On a curved manifold h
    stays below 0.4 r_k even in the tail of a density (6 mixtures of 8000 points on a sphere);
    uniform outliers have more than 0.85 r_k.

    Args:
        x: points, shape (n, D).
        dim: intrinsic dimension.
        k: neighbours that are looked at.
        most: share of the points above which none is named.
    """

    def off(
        f: np.ndarray, h: np.ndarray, s: np.ndarray, r_k: np.ndarray, r_1: np.ndarray
    ) -> np.ndarray:
        return ((h > 0.5 * r_k) & (h > 3 * s)) | ((f > 1.7) & (s > 0.2 * r_k))

    retained = _peeled(x, dim, k, most, off)
    return np.setdiff1d(np.arange(len(x)), np.arange(len(x)) if retained is None else retained)


def _peeled(
    x: np.ndarray, dim: int, k: int, most: float, rule: Callable[..., np.ndarray]
) -> np.ndarray | None:
    """The rows that stay when those that a rule of f, h, s, r_k and r_1 names go, again and again.

    None where more than the share `most` would go.
    """
    retained = np.arange(len(x))
    while len(retained) > 2 * k:
        some, *letters = _loneliness(x[retained], dim, k)
        out = some[rule(*letters)]
        if len(out) == 0:
            break
        retained = np.delete(retained, out)
        if len(retained) < (1 - most) * len(x):
            return None
    return retained


def _loneliness(x: np.ndarray, dim: int, k: int) -> tuple[np.ndarray, ...]:
    """The rows with f > 1.2, and their f, h, s, r_k and r_1; see :func:`trim_outliers`."""
    distance, index = neighbours(x, k)
    r = distance[:, -1]
    f = r / np.maximum(np.median(r[index], axis=1), 1e-300)
    some = np.flatnonzero(f > 1.2)
    h, s = _off_plane(x, some, index[some], dim)
    return some, f[some], h, s, r[some], distance[some, 0]


def trim_outliers(
    x: np.ndarray, dim: int, seed: int, *, k: int = 15, most: float = 0.15
) -> np.ndarray:
    r"""The rows that stay when outliers are left out: all of them unless that closes real gaps.

    An outlier is lonelier than its neighbours and off the manifold that they lie on. With
    :math:`r_j` the distance to the j-th neighbour :math:`y_j`, P the best affine `dim`-plane of
    the first k, s their root-mean-square distance from it, :math:`h = \mathrm{dist}(x, P)` and
    :math:`f = r_k(x) / \mathrm{median}_j\, r_k(y_j)`, the point x is one when

    .. math:: f > 1.7 \text{ and } \bigl(\max(h, s) > r_k/5 \text{ or } r_1 > 0.6\, r_k\bigr),
        \quad\text{or}\quad f > 1.2 \text{ and } h > \max(r_k/2, 3 s).

    The thin tail of a density is lonely but lies on the manifold; the middle of a tube, whose
    neighbours are a ring, has nobody near. The tests are repeated until nothing is found; up to
    half as many of the loneliest points may go with them. The result counts only when the hold-out
    gap, which sets the scale of the landmarks, falls by a fifth or more. f is a form of the local
    outlier factor (Breunig et al., 2000, https://doi.org/10.1145/335191.335388).

    Args:
        x: points, shape (n, D).
        dim: intrinsic dimension.
        seed: of the hold-out halves.
        k: neighbours that are looked at.
        most: share of the points above which nothing is left out.

    Returns:
        sorted indices of the rows retained.
    """

    def lonely(
        f: np.ndarray, h: np.ndarray, s: np.ndarray, r_k: np.ndarray, r_1: np.ndarray
    ) -> np.ndarray:
        far = (f > 1.7) & ((np.maximum(h, s) > 0.2 * r_k) | (r_1 > 0.6 * r_k))
        return far | ((h > 0.5 * r_k) & (h > 3 * s))

    everything = np.arange(len(x))
    retained = _peeled(x, dim, k, most, lonely)
    if retained is None or len(retained) == len(x):
        return everything
    # a few outliers look regular; where there are some, the loneliest points are suspects too
    count = len(x) - len(retained)
    order = np.argsort(neighbour_distance(x[retained], k), kind="stable")
    fewer = (len(retained) - math.ceil(share * count) for share in (0.1, 0.25, 0.5))
    chosen = [everything, retained, *(np.sort(retained[order[:size]]) for size in fewer)]
    gaps = [holdout_gap(x[rows], np.random.default_rng(seed)) for rows in chosen]
    best = int(np.argmin(gaps))
    return chosen[best] if gaps[best] < 0.8 * gaps[0] else everything


def connected_degrees(
    out: np.ndarray, retained: np.ndarray, scale: float, top: int
) -> dict[int, int]:
    r"""The degrees in which points left out join or fill what the others leave apart.

    Relative homology: the others count as one point, at the distance of the nearest. Points that
    lie near them alone, or far from everything, then make no class of degree >= 1; a bridge makes
    a loop, a membrane a sphere. A class counts that is born by 2.2 `scale`, up to which gaps look
    closed, and alive at 3.3. One of degree k changes Betti numbers of degree k - 1 or k.

    Args:
        out: points left out, shape (m, D).
        retained: the others, shape (n, D).
        scale: covering radius of the landmarks of the others.
        top: largest degree of interest.

    Returns:
        {degree k of the relative class: number of points left out that lie within 2.2 scales of
        another point}, empty where there is no such class.
    """
    born, alive = 2.2 * scale, 3.3 * scale
    to_rest = nearest(retained, out, 1)[0][:, 0]
    among = nearest(out, out, 2)[0][:, 1] if len(out) > 1 else np.array([np.inf])
    some = np.minimum(to_rest, among) <= born
    count = int(some.sum())
    if count < 2:
        return {}
    y, d = out[some], to_rest[some]
    matrix = np.zeros((count + 1, count + 1))
    matrix[:count, :count] = distances(y)
    matrix[count, :count] = matrix[:count, count] = d
    bars = rips_bars([matrix], 1.01 * alive, range(1, max(top, 1) + 1), 2, collapses=1)[0]
    joined = enumerate(bars, start=1)
    return {k: count for k, b in joined if ((b[:, 0] <= born) & (b[:, 1] > alive)).any()}


def _off_plane(
    x: np.ndarray, rows: np.ndarray, index: np.ndarray, dim: int
) -> tuple[np.ndarray, np.ndarray]:
    """(h, s) of some rows of x: distances from the `dim`-plane of their neighbours."""
    if len(rows) == 0 or dim >= x.shape[1]:
        return np.zeros(len(rows)), np.zeros(len(rows))
    near = x[index]
    centre, axes = principal_axes(near, dim)
    both = np.concatenate([x[rows][:, None], near], axis=1) - centre
    both -= (both @ np.swapaxes(axes, 1, 2)) @ axes
    off = np.linalg.norm(both, axis=2)
    return off[:, 0], np.sqrt((off[:, 1:] ** 2).mean(axis=1))
