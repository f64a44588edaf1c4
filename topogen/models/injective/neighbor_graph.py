r"""The neighbour graph of a cloud, its double covers, and landmarks on them.

A double cover is given by a sign per edge; its nodes are (i, +) and (i, -), in this order, and
sigma exchanges them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import TrainingError
from ...point_cloud.knn import component_labels, nearest
from ...topology.persistence.cohomology import PersistentClass, persistent_classes


@dataclass(frozen=True, eq=False)
class Graph:
    r"""An undirected graph with n nodes, edges i-j of given lengths and weights.

    The Laplacian of a function u is :math:`(L u)_i = \sum_j w_{ij} (u_i - u_j)`.

    Attributes:
        n: number of nodes.
        i, j: the ends of each edge.
        length: in units of the points.
        weight: w > 0, corrected for the density of the points.
        sign: of the determinant between the tangent frames at the ends.
        area: of the manifold around each node, up to a factor, shape (n,).
        forth, back: of each edge the step i -> j in the tangent frame of i, and j -> i in that
            of j, shape (e, d).
        sheets: 1, or 2 for a double cover.
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
    _landmarks: dict[int, Landmarks] = field(default_factory=dict, init=False, repr=False)

    def matrix(self, values: np.ndarray) -> Any:
        """The symmetric sparse matrix with these values on the edges."""
        from scipy.sparse import coo_matrix

        rows, columns = np.concatenate([self.i, self.j]), np.concatenate([self.j, self.i])
        shape = (self.n, self.n)
        return coo_matrix((np.concatenate([values, values]), (rows, columns)), shape).tocsr()

    @property
    def degree(self) -> np.ndarray:
        """The sum of the weights at every node, shape (n,)."""
        return np.asarray(self.matrix(self.weight).sum(axis=1)).ravel()

    def laplacian(self) -> Any:
        """L, sparse, shape (n, n)."""
        from scipy.sparse import diags

        return (diags(self.degree) - self.matrix(self.weight)).tocsr()

    @cached_property
    def _lengths(self) -> Any:
        return self.matrix(self.length)

    def distances(self, nodes: Any) -> np.ndarray:
        """Geodesic distances from one node, shape (n,), or from several, shape (m, n)."""
        from scipy.sparse.csgraph import dijkstra

        return dijkstra(self._lengths, directed=False, indices=nodes)

    @cached_property
    def component(self) -> np.ndarray:
        """The number of the connected component of every node, shape (n,)."""
        return component_labels(self.n, self.i, self.j)

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

    @property
    def sigma(self) -> np.ndarray:
        """Of a double cover the other node over the same point, shape (n,)."""
        return np.roll(np.arange(self.n), self.n // 2)

    def one_sheet(self) -> np.ndarray:
        """Of a cover in two components, the node of one component over every point."""
        n, label = self.n // 2, self.component
        return np.where(label[:n] == label[0], np.arange(n), np.arange(n, 2 * n))

    def without(self, nodes: np.ndarray) -> tuple[Graph, np.ndarray]:
        """The graph on the other nodes (their largest component), and which these are."""
        keep = np.ones(self.n, dtype=bool)
        keep[nodes] = False
        part = self._on_edges(keep[self.i] & keep[self.j])
        label = part.component
        largest = np.bincount(label[keep]).argmax()
        rows = np.flatnonzero(keep & (label == largest))
        place = np.full(self.n, -1)
        place[rows] = np.arange(len(rows))
        part = part._on_edges((place[part.i] >= 0) & (place[part.j] >= 0))
        i, j = place[part.i], place[part.j]
        return replace(part, n=len(rows), i=i, j=j, area=self.area[rows], sheets=1), rows

    def _on_edges(self, keep: np.ndarray) -> Graph:
        return replace(
            self,
            i=self.i[keep],
            j=self.j[keep],
            length=self.length[keep],
            weight=self.weight[keep],
            sign=self.sign[keep],
            forth=self.forth[keep],
            back=self.back[keep],
        )

    def landmarks(self, count: int) -> Landmarks:
        """Farthest nodes by geodesic distance; on a cover always both nodes over a point.

        Raises:
            TrainingError: the graph is not connected.
        """
        if count in self._landmarks:
            return self._landmarks[count]
        chosen, rows = [0], [self.distances(0)]
        if not np.isfinite(rows[0]).all():
            far = int((~np.isfinite(rows[0])).sum())
            raise TrainingError(
                f"expected points that neighbours connect, got {far} of {self.n} apart from the "
                "first; drop outliers, give more points, or fit each component alone"
            )
        # on a cover every turn begins with one node whose partner on the other sheet is to come
        while True:
            enough = len(chosen) >= min(count, self.n)
            if self.sheets == 2:
                chosen.append(int(self.sigma[chosen[-1]]))
                rows.append(rows[-1][self.sigma])
            if enough:
                break
            chosen.append(int(np.minimum.reduce(rows).argmax()))
            rows.append(self.distances(chosen[-1]))
        distance = np.stack(rows)
        found = Landmarks(np.array(chosen), distance, distance.argmin(axis=0))
        return self._landmarks.setdefault(count, found)


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Nodes of a graph that are far apart, and the geodesic distances from them.

    Attributes:
        nodes: shape (m,).
        distance: to every node, shape (m, n).
        label: the nearest landmark of every node, shape (n,).
    """

    nodes: np.ndarray
    distance: np.ndarray
    label: np.ndarray
    _ratios: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    @property
    def pairwise(self) -> np.ndarray:
        """Distances between landmarks, shape (m, m)."""
        D = self.distance[:, self.nodes]
        return (D + D.T) / 2

    def classes(self, prime: int) -> list[PersistentClass]:
        """Classes of degree 1 of the Rips complex of the landmarks over Z/p, strongest first.

        The complex has 40 edges per landmark, which keeps the loops that are born and die among
        neighbours; classes with death / birth below 1.05 are left out.
        """
        D = self.pairwise
        lengths = np.sort(D[np.triu_indices(len(D), 1)])
        longest = float(lengths[min(40 * len(D), len(lengths)) - 1])
        return persistent_classes(D, longest, prime=prime, least_ratio=1.05)

    def ratios(self, prime: int) -> np.ndarray:
        """Death / birth of :meth:`classes`, the largest first."""
        if prime not in self._ratios:
            self._ratios[prime] = np.array([c.death / c.birth for c in self.classes(prime)])
        return self._ratios[prime]


def neighbour_graph(x: np.ndarray, dim: int, *, noisy: bool = False) -> Graph:
    r"""The graph of nearest neighbours, without edges between sheets.

    Weights :math:`e^{-|x_i - x_j|^2 / (s_i s_j)}`, s the distance to the k/2-th neighbour, divided
    by the product of their sums at the two ends: the Laplacian is then that of the manifold,
    whatever the density of the points (Coifman and Lafon, 2006, "Diffusion maps",
    https://doi.org/10.1016/j.acha.2006.04.006). An edge between tangent frames whose determinant
    is below 0.3 (an angle of 73 degrees on surfaces) crosses to another sheet.

    Args:
        x: points, shape (n, D).
        dim: of the manifold.
        noisy: whether tangent planes need more points.
    """
    n, k = len(x), min({1: 16, 2: 14, 3: 24}.get(dim, 8 * dim), len(x) - 1)
    wide = min(n - 1, (40 if noisy else 24) if dim == 2 else 12 * dim + (6 if dim > 2 else 0))
    distance, neighbour = nearest(x, x, max(k, wide) + 1, exact=True)
    local = x[neighbour[:, : wide + 1]]
    local = local - local.mean(axis=1, keepdims=True)
    across = local.transpose(0, 2, 1)
    if x.shape[1] > wide:
        # tangent frames from the Gram matrices: fewer points than columns
        frame = across @ np.linalg.eigh(local @ across)[1][:, :, -dim:]
        frame /= np.linalg.norm(frame, axis=1, keepdims=True)
    else:
        frame = np.linalg.eigh(across @ local)[1][:, :, -dim:]
    i = np.repeat(np.arange(n), k)
    j = neighbour[:, 1 : k + 1].ravel()
    if dim == 1:
        a, b = _both_ways(x, frame[:, :, 0], min(3 * k, n // 10))
        i, j = np.concatenate([i, a]), np.concatenate([j, b])
    pairs = np.unique(np.sort(np.stack([i, j], axis=1), axis=1), axis=0)
    i, j = pairs[pairs[:, 0] != pairs[:, 1]].T
    det = np.linalg.det(frame[i].transpose(0, 2, 1) @ frame[j])
    good = np.abs(det) > 0.3
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


def _both_ways(x: np.ndarray, frame: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges from every point of a curve to the next one forth and the next one back."""
    # all nearest neighbours may lie on one side, beside a gap that chance leaves
    distance, neighbour = nearest(x, x, count + 1, exact=True)
    along = ((x[neighbour] - x[:, None]) * frame[:, None]).sum(axis=2)
    ends = []
    for side in (along, -along):
        ahead = side > 0.9 * np.maximum(distance, 1e-300)  # within 26 degrees of the tangent
        some = ahead.any(axis=1)
        ends.append((np.flatnonzero(some), neighbour[some, ahead.argmax(axis=1)[some]]))
    (i, j), (a, b) = ends
    return np.concatenate([i, a]), np.concatenate([j, b])
