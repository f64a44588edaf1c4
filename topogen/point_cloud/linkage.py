"""Single linkage: the minimum spanning tree of a cloud, and the clusters that its edges join."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .knn import component_labels, nearest, neighbours


class Merge(NamedTuple):
    """Two clusters that an edge of the spanning tree joins, the smaller one first.

    Attributes:
        edge: number of the edge, in order of length.
        length: of the edge: the distance of the clusters.
        sizes: numbers of points.
        links: the longest edge inside each.
    """

    edge: int
    length: float
    sizes: tuple[int, int]
    links: tuple[float, float]

    @property
    def ratios(self) -> tuple[float, float]:
        """The distance of the clusters against the longest edge inside each."""
        small, large = self.links
        return self.length / small, self.length / large


def spanning_tree(x: np.ndarray, k: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The Euclidean minimum spanning tree, up to edges that k nearest neighbours do not show.

    Args:
        x: distinct points, shape (n, D).
        k: neighbours of each point that are looked at; clusters farther apart are joined by
            their shortest connections.

    Returns:
        the ends of the edges and their lengths, shortest first, each of shape (n - 1,).
    """
    n = len(x)
    length, index = neighbours(x, k)
    a, b, lengths = np.repeat(np.arange(n), index.shape[1]), index.ravel(), length.ravel()
    while True:
        a, b, lengths = _tree(n, a, b, lengths)
        label = component_labels(n, a, b)
        if label.max() == 0:
            order = np.argsort(lengths, kind="stable")
            return a[order], b[order], lengths[order]
        between = [_shortest(x, label == c) for c in range(label.max() + 1)]
        i, j, distance = zip(*between, strict=True)
        a, b, lengths = np.r_[a, i], np.r_[b, j], np.r_[lengths, distance]


def merges(
    tree: tuple[np.ndarray, np.ndarray, np.ndarray], least: int, apart: Callable[[Merge], bool]
) -> list[Merge]:
    """What the edges of a spanning tree join where both clusters have at least `least` points.

    Args:
        tree: as :func:`spanning_tree` returns it.
        least: number of points.
        apart: whether the clusters stay apart: then the edge is no link inside their union.
    """
    a, b, lengths = tree
    parent = list(range(len(lengths) + 1))
    size, link = [1] * len(parent), [0.0] * len(parent)
    found = []

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for edge, (i, j, length) in enumerate(
        zip(a.tolist(), b.tolist(), lengths.tolist(), strict=True)
    ):
        small, large = sorted((root(i), root(j)), key=size.__getitem__)
        longest = length
        if size[small] >= least:
            sizes, links = (size[small], size[large]), (link[small], link[large])
            merge = Merge(edge, length, sizes, links)
            found.append(merge)
            if apart(merge):
                longest = max(links)
        parent[small] = large
        size[large] += size[small]
        link[large] = longest
    return found


def long_links(tree: tuple[np.ndarray, np.ndarray, np.ndarray], merge: Merge) -> int:
    """How many links are longer than half the longest, in the cluster that has more of them.

    Longer edges between clusters that stay apart are no links.
    """
    a, b, lengths = (part[: merge.edge] for part in tree)
    label = component_labels(len(tree[0]) + 1, a, b)
    ends = label[[tree[0][merge.edge], tree[1][merge.edge]]]
    counts = []
    for own in (lengths[label[a] == end] for end in ends):
        longest = next(h for h in merge.links if h in own)
        counts.append(int(((own > longest / 2) & (own <= longest)).sum()))
    return max(counts)


def _tree(n: int, a: np.ndarray, b: np.ndarray, lengths: np.ndarray) -> tuple[Any, Any, Any]:
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    # scipy adds up repeated entries and takes 0 for no edge
    low, high = np.minimum(a, b), np.maximum(a, b)
    once = np.unique(low * np.int64(n) + high, return_index=True)[1]
    positive = np.maximum(lengths[once], np.finfo(float).tiny)
    tree = minimum_spanning_tree(csr_matrix((positive, (low[once], high[once])), (n, n))).tocoo()
    return tree.row.astype(np.int64), tree.col.astype(np.int64), tree.data


def _shortest(x: np.ndarray, inside: np.ndarray) -> tuple[int, int, float]:
    """The shortest edge from some points to the others."""
    few, many = sorted((np.flatnonzero(inside), np.flatnonzero(~inside)), key=len)
    distance, near = nearest(x[many], x[few], 1)
    best = int(distance[:, 0].argmin())
    return int(few[best]), int(many[near[best, 0]]), float(distance[best, 0])
