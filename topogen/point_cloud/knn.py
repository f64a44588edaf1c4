"""Distances, nearest neighbours, the graph that they make, and the components of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

# squared distances below this share of the squared norms lose digits as differences of products:
# what is left has a relative error of about eps / 1e-6
ROUNDED = 1e-6


def neighbour_distance(x: np.ndarray, k: int) -> np.ndarray:
    """Distance of each point to its k-th nearest other point, shape (n,)."""
    return neighbours(x, k)[0][:, -1]


def neighbours(x: np.ndarray, k: int, *, exact: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Distances and indices of the k nearest other points, each of shape (n, k)."""
    k = min(k, len(x) - 1)
    distance, index = nearest(x, x, k + 1, exact=exact)
    return distance[:, 1:], index[:, 1:]


def neighbour_graph(x: np.ndarray, k: int, *, exact: bool = False) -> Any:
    """1 where one of two points is among the k nearest of the other: a sparse (n, n) matrix."""
    from scipy.sparse import csr_matrix

    n, index = len(x), neighbours(x, k, exact=exact)[1]
    rows = np.repeat(np.arange(n), index.shape[1])
    A = csr_matrix((np.ones(index.size), (rows, index.ravel())), shape=(n, n))
    return A.maximum(A.T).tocsr()


def nearest(
    x: np.ndarray, queries: np.ndarray, k: int, *, exact: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Distances to, and indices of, the k nearest rows of x, both (queries, k), nearest first.

    Args:
        x: points, shape (n, D).
        queries: shape (q, D).
        k: how many, at most n.
        exact: never by differences of products, which round distances far below the size of x.
    """
    if exact or _tree_helps(x, queries, k):
        from scipy.spatial import KDTree

        distance, index = KDTree(x).query(queries, k=k)
        return distance.reshape(len(queries), k), index.reshape(len(queries), k)
    distance = np.empty((len(queries), k))
    index = np.empty((len(queries), k), dtype=np.int64)
    chunk = max(1, 8_000_000 // len(x))
    for i in range(0, len(queries), chunk):
        d2 = _squares(x, queries[i : i + chunk])
        near = np.argpartition(d2, k - 1, axis=1)[:, :k] if k < len(x) else np.argsort(d2, axis=1)
        d2 = np.take_along_axis(d2, near, axis=1)
        order = np.argsort(d2, axis=1)
        index[i : i + chunk] = np.take_along_axis(near, order, axis=1)
        distance[i : i + chunk] = np.sqrt(np.maximum(np.take_along_axis(d2, order, axis=1), 0))
    return distance, index


def _tree_helps(x: np.ndarray, queries: np.ndarray, k: int) -> bool:
    """Whether a k-d tree beats all products: few columns, or neighbours far nearer than others."""
    if x.shape[1] <= 12:
        return True
    if k >= len(x):
        return False
    some = queries[np.linspace(0, len(queries) - 1, min(32, len(queries))).astype(int)]
    d2 = np.sort(_squares(x, some), axis=1)
    near, middle = np.maximum(d2[:, [k - 1, len(x) // 2]], 0).T
    # k-th neighbour over median distance, below which a k-d tree is the faster (measured)
    return bool(np.median(near) < 0.3**2 * np.median(middle))


def _squares(x: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Squared distances from each query to each row of x, up to rounding of the products."""
    return (x * x).sum(axis=1) - 2 * (queries @ x.T) + (queries * queries).sum(axis=1)[:, None]


def distances(x: np.ndarray) -> np.ndarray:
    """All pairwise distances, shape (m, m)."""
    squares = (x * x).sum(axis=1)
    d2 = squares[:, None] + squares[None] - 2 * (x @ x.T)
    np.fill_diagonal(d2, np.inf)
    close = d2 < ROUNDED * (squares[:, None] + squares)
    np.fill_diagonal(d2, 0.0)
    for i in np.flatnonzero(close.any(axis=1)):
        d2[i, close[i]] = ((x[close[i]] - x[i]) ** 2).sum(axis=1)
    return np.sqrt(np.maximum(d2, 0.0))


def component_labels(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """The component of each of n nodes joined by the edges i-j, numbered by their first nodes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(n, n))
    return connected_components(graph, directed=False)[1]
