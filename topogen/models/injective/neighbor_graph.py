r"""The neighbour graph of a cloud, its double covers, and harmonic functions on them.

On a graph with weights w the Laplacian of a function u is :math:`(L u)_i = \sum_j w_{ij} (u_i -
u_j)`. A double cover is given by a sign per edge; its nodes are (i, +) and (i, -), in this order,
and sigma exchanges them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...errors import TrainingError
from ...point_cloud.knn import component_labels

NEIGHBOURS = {1: 16, 2: 14, 3: 24}  # per dimension of the set
_AHEAD = 0.9  # cosine of the angle to the tangent below which a point of a curve is not ahead
LEAST_DETERMINANT = 0.3  # edges between tangent frames that match less cross to another sheet


@dataclass(frozen=True, eq=False)
class Graph:
    """An undirected graph with n nodes, edges i-j of given lengths and weights.

    Attributes:
        n: number of nodes.
        i, j: the ends of each edge.
        length: in units of the points.
        weight: w > 0, corrected for the density of the points.
        sign: of the determinant between the tangent frames at the ends.
        area: of the set around each node, up to a factor, shape (n,).
        forth, back: of each edge the step i -> j in the tangent frame of i, and j -> i in that
            of j, shape (e, d).
        sheets: 1, or 2 for a double cover.
        known: landmarks that were found, by their number.
        ratios: death / birth of the loops that landmarks show, by their number and the field.
    """

    n: int
    i: np.ndarray
    j: np.ndarray
    length: np.ndarray
    weight: np.ndarray
    sign: np.ndarray
    area: np.ndarray
    forth: np.ndarray
    back: np.ndarray
    sheets: int = 1
    known: dict[int, Any] = field(default_factory=dict, repr=False)
    ratios: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, repr=False)

    def matrix(self, values: np.ndarray) -> Any:
        """The symmetric sparse matrix with these values on the edges."""
        from scipy.sparse import coo_matrix

        rows, columns = np.concatenate([self.i, self.j]), np.concatenate([self.j, self.i])
        shape = (self.n, self.n)
        return coo_matrix((np.concatenate([values, values]), (rows, columns)), shape).tocsr()

    def laplacian(self) -> Any:
        """L, sparse, shape (n, n)."""
        from scipy.sparse import diags

        W = self.matrix(self.weight)
        return (diags(np.asarray(W.sum(axis=1)).ravel()) - W).tocsr()

    def cover(self, sign: np.ndarray) -> Graph:
        """The double cover in which an edge of sign -1 changes the sheet."""
        up, down = self.i, self.i + self.n
        flip = sign < 0
        return Graph(
            2 * self.n,
            np.concatenate([up, down]),
            np.concatenate([self.j + self.n * flip, self.j + self.n * ~flip]),
            np.tile(self.length, 2),
            np.tile(self.weight, 2),
            np.tile(self.sign, 2),
            np.tile(self.area, 2),
            np.tile(self.forth, (2, 1)),
            np.tile(self.back, (2, 1)),
            sheets=2,
        )

    def sigma(self, nodes: np.ndarray) -> np.ndarray:
        """The other node of the cover over the same point."""
        return (nodes + self.n // 2) % self.n

    def without(self, nodes: np.ndarray) -> tuple[Graph, np.ndarray]:
        """The graph on the other nodes (their largest component), and which these are."""
        keep = np.ones(self.n, dtype=bool)
        keep[nodes] = False
        inside = keep[self.i] & keep[self.j]
        part = Graph(
            self.n, self.i[inside], self.j[inside], self.length[inside], self.weight[inside],
            self.sign[inside], self.area, self.forth[inside], self.back[inside],
        )  # fmt: skip
        label = component_labels(part.n, part.i, part.j)
        largest = np.bincount(label[keep]).argmax()
        rows = np.flatnonzero(keep & (label == largest))
        place = np.full(self.n, -1)
        place[rows] = np.arange(len(rows))
        inside = (place[part.i] >= 0) & (place[part.j] >= 0)
        return Graph(
            len(rows), place[part.i[inside]], place[part.j[inside]], part.length[inside],
            part.weight[inside], part.sign[inside], self.area[rows], part.forth[inside],
            part.back[inside],
        ), rows  # fmt: skip


def neighbour_graph(x: np.ndarray, dim: int, *, noisy: bool = False) -> Graph:
    r"""The graph of nearest neighbours, without edges between sheets.

    Weights :math:`e^{-|x_i - x_j|^2 / (s_i s_j)}`, s the distance to the k/2-th neighbour, divided
    by the product of their sums at the two ends: the Laplacian is then that of the set, whatever
    the density of the points (Coifman and Lafon, 2006, "Diffusion maps",
    https://doi.org/10.1016/j.acha.2006.04.006).

    Args:
        x: points, shape (n, D).
        dim: of the set.
        noisy: whether tangent planes need more points.
    """
    from scipy.spatial import KDTree

    n, k = len(x), min(NEIGHBOURS.get(dim, 8 * dim), len(x) - 1)
    wide = min(n - 1, (40 if noisy else 24) if dim == 2 else 12 * dim + (6 if dim > 2 else 0))
    tree = KDTree(x)
    distance, neighbour = (np.asarray(a) for a in tree.query(x, max(k, wide) + 1))
    local = x[neighbour[:, : wide + 1]]
    local = local - local.mean(axis=1, keepdims=True)
    if x.shape[1] > wide:
        # tangent frames from the Gram matrices: fewer points than columns
        _, U = np.linalg.eigh(local @ local.transpose(0, 2, 1))
        frame = local.transpose(0, 2, 1) @ U[:, :, -dim:]
        frame /= np.linalg.norm(frame, axis=1, keepdims=True)
    else:
        frame = np.linalg.eigh(local.transpose(0, 2, 1) @ local)[1][:, :, -dim:]
    i = np.repeat(np.arange(n), k)
    j = neighbour[:, 1 : k + 1].ravel()
    if dim == 1:
        a, b = _both_ways(x, frame[:, :, 0], tree)
        i, j = np.concatenate([i, a]), np.concatenate([j, b])
    pairs = np.unique(np.sort(np.stack([i, j], axis=1), axis=1), axis=0)
    i, j = pairs[pairs[:, 0] != pairs[:, 1]].T
    det = np.linalg.det(frame[i].transpose(0, 2, 1) @ frame[j])
    good = np.abs(det) > LEAST_DETERMINANT if dim < x.shape[1] else np.ones(len(i), dtype=bool)
    i, j, det = i[good], j[good], det[good]
    length = np.linalg.norm(x[i] - x[j], axis=1)
    s = np.maximum(distance[:, (k + 1) // 2], 1e-300)
    w = np.exp(-(length**2) / (s[i] * s[j]))
    q = np.bincount(i, w, n) + np.bincount(j, w, n)
    step = (x[j] - x[i])[:, :, None]
    return Graph(
        n, i, j, np.maximum(length, 1e-300), w / (q[i] * q[j]), np.sign(det),
        distance[:, k] ** dim,
        (frame[i] * step).sum(axis=1), (frame[j] * -step).sum(axis=1),
    )  # fmt: skip


def _both_ways(x: np.ndarray, frame: np.ndarray, tree: Any) -> tuple[np.ndarray, np.ndarray]:
    """Edges from every point of a curve to the next one forth and the next one back.

    All nearest neighbours may lie on one side, beside a gap that chance leaves. They are looked
    for among three times as many.
    """
    n = len(x)
    distance, neighbour = tree.query(x, min(3 * NEIGHBOURS[1], n // 10) + 1)
    along = ((x[neighbour] - x[:, None]) * frame[:, None]).sum(axis=2)
    ends = []
    for side in (along, -along):
        ahead = side > _AHEAD * np.maximum(distance, 1e-300)
        some = ahead.any(axis=1)
        ends.append((np.flatnonzero(some), neighbour[some, ahead.argmax(axis=1)[some]]))
    (i, j), (a, b) = ends
    return np.concatenate([i, a]), np.concatenate([j, b])


def solve(L: Any, right: np.ndarray, fixed: np.ndarray | None = None) -> np.ndarray:
    """U with L u = right on the free nodes, u = 0 on the fixed ones (mean 0 where none is).

    By conjugate gradients; `right` must add up to 0 where no node is fixed.

    Raises:
        TrainingError: they did not converge.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import cg

    n = L.shape[0]
    free = np.ones(n, dtype=bool)
    if fixed is not None:
        free[fixed] = False
    A = L[free][:, free]
    diagonal = np.maximum(A.diagonal(), 1e-300)
    u = np.zeros(n)
    with np.errstate(over="ignore", invalid="ignore"):
        u[free], status = cg(
            A, right[free], rtol=1e-9, atol=0.0, maxiter=20_000, M=diags(1 / diagonal)
        )
    if status != 0 or not np.isfinite(u).all():
        raise TrainingError(
            f"expected conjugate gradients to converge on {n} nodes, got status {status}; "
            "drop outliers, or give more points"
        )
    return u if fixed is not None else u - u.mean()


def lowest(graph: Graph, count: int, *, odd: bool = False) -> np.ndarray:
    """Eigenvectors of the lowest eigenvalues of the normalised Laplacian, shape (n, count).

    Args:
        graph: the graph; a cover where `odd` is set.
        count: how many; the constant is the first unless `odd`.
        odd: of the functions on a cover with u(sigma x) = -u(x) only.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import eigsh

    W = graph.matrix(graph.weight)
    root = np.sqrt(np.maximum(np.asarray(W.sum(axis=1)).ravel(), 1e-300))
    S = diags(1 / root) @ W @ diags(1 / root)
    if odd:
        half = graph.n // 2
        S = (S[:half, :half] - S[:half, half:]).tocsr()
        root = root[:half]
    start = np.random.default_rng(0).normal(size=S.shape[0])
    lam, U = eigsh(S, k=count, which="LA", v0=start)
    U = U[:, np.argsort(-lam)] / root[:, None]
    return np.concatenate([U, -U]) if odd else U
