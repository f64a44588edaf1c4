r"""Sign cocycles on a graph: whether frames at its nodes can be oriented consistently.

An edge i-j carries :math:`\det T_i^\top T_j` of the frames at its ends. Its signs s are a
coboundary, :math:`s_{ij} = \sigma_i \sigma_j` for signs :math:`\sigma` of the nodes, iff the
bundle that the frames span is orientable: the first Stiefel-Whitney class.
"""

from __future__ import annotations

import math

import numpy as np

from .knn import component_labels


def contradicted(
    signs: np.ndarray, i: np.ndarray, j: np.ndarray, det: np.ndarray, strong: float = 0.5
) -> float:
    """Share of the edges with |det| > `strong` whose sign is not the product of those of its ends.

    A sign of 0 is a contradiction too.
    """
    counted = np.abs(det) > strong
    wrong = counted & (signs[i] * signs[j] * det <= 0)
    return float(wrong.sum()) / max(int(counted.sum()), 1)


def forest_signs(
    m: int, i: np.ndarray, j: np.ndarray, det: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """Signs along the maximal spanning forest; its least |det|; the largest |det| against them.

    The edges i-j of m nodes may be repeated, with other signs. By Kruskal's algorithm: the first
    edge within a tree that disagrees closes a reversing cycle, none with a larger least |det|.
    """
    tree, signs = np.arange(m), np.ones(m, dtype=int)
    weakest, against = 1.0, 0.0
    for e in np.argsort(-np.abs(det), kind="stable"):
        a, b, strength = i[e], j[e], abs(float(det[e]))
        agrees = signs[a] * signs[b] * det[e] > 0
        if tree[a] == tree[b]:
            against = max(against, 0.0 if agrees else strength)
        else:
            joined = tree == tree[b]
            signs[joined] *= 1 if agrees else -1
            tree[joined] = tree[a]
            weakest = min(weakest, strength)
    return signs, weakest, against


def reversing_cycle(
    m: int, i: np.ndarray, j: np.ndarray, det: np.ndarray, against: float
) -> tuple[np.ndarray, float]:
    """A short closed walk of edges with |det| >= 0.9 `against` whose signs multiply to -1.

    It lifts to a path between two ends over one landmark in the orientation double cover.

    Returns:
        landmarks in order, and the least |det| along them (0 without a cycle).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import dijkstra

    if against <= 0:
        return np.empty(0, dtype=int), 0.0
    strong = np.abs(det) >= 0.9 * against
    i, j, det = i[strong], j[strong], det[strong]
    flip = m * (det < 0)
    rows = np.concatenate([i, i + m])
    columns = np.concatenate([j + flip, (j + m + flip) % (2 * m)])
    cover = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(2 * m, 2 * m)).tocsr()
    best, starts = np.empty(0, dtype=int), np.unique(i)
    for start in starts[:: max(1, len(starts) // 32)]:
        length, before = dijkstra(
            cover, directed=False, indices=start, unweighted=True, return_predecessors=True
        )
        if not math.isfinite(length[start + m]) or (len(best) and length[start + m] >= len(best)):
            continue
        walk = [before[start + m]]
        while walk[-1] != start:
            walk.append(before[walk[-1]])
        best = np.array(walk) % m
    if not len(best):
        return best, 0.0
    step = {frozenset(e) for e in np.stack([best, np.roll(best, 1)], axis=1).tolist()}
    walked = [frozenset(e) in step for e in np.stack([i, j], axis=1).tolist()]
    return best, float(np.abs(det)[walked].min())


def frustration(m: int, i: np.ndarray, j: np.ndarray, det: np.ndarray) -> float:
    r"""The ratio lambda_0 (signed) / lambda_1 (unsigned), largest over components of the graph.

    Of the normalised Laplacians :math:`1 - D^{-1/2} W D^{-1/2}` with :math:`W = \det^3` and
    :math:`|\det|^3`: 0 where the signs are a coboundary.
    """
    signed = np.zeros((m, m))
    signed[i, j] = signed[j, i] = det
    label = component_labels(m, i, j)
    worst = 0.0
    for c in range(label.max() + 1):
        rows = np.flatnonzero(label == c)
        if len(rows) < 5:
            continue
        S = signed[np.ix_(rows, rows)] ** 3  # odd, so that signs stay, and weak edges weigh little
        root = np.sqrt(np.maximum(np.abs(S).sum(axis=1), 1e-12))
        identity, scale = np.eye(len(rows)), np.outer(root, root)
        signed_0 = np.linalg.eigvalsh(identity - S / scale)[0]
        unsigned_1 = np.linalg.eigvalsh(identity - np.abs(S) / scale)[1]
        worst = max(worst, float(signed_0 / max(unsigned_1, 1e-9)))
    return worst
