"""Rips diagrams of landmarks of a cloud, at a cost that is known before it is paid."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...point_cloud.cloud import LEAST_SHARE
from ...point_cloud.knn import distances, nearest
from .rips import Diagrams, collapsed_graph, ratios, rips_diagrams

# per intrinsic dimension (4 stands for more), in covering radii: the longest edge, and the least
# that can show a class of degree >= 1; benchmarks/topology_null.py simulates noise with them
LONGEST_EDGE = {1: (10.0, 3.6), 2: (5.0, 3.3), 3: (3.3, 2.95), 4: (3.3, 2.95)}
# by (dimension, degree): the scales by which a class of the reference spaces is born, measured
LATEST_BIRTH = {
    **{(1, 1): 2.6, (2, 1): 1.9, (2, 2): 3.8},
    **{(d, k): b for d in (3, 4) for k, b in ((1, 1.4), (2, 2.0), (3, 2.8))},
}


class RunLimit(NamedTuple):
    """What one run may cost.

    Attributes:
        simplices: their largest number; 2e6 take a second and 60 MB in each field.
        work: largest sum of squared degrees of a graph that is collapsed; 2e8 take 8 seconds.
    """

    simplices: float = 2e6
    work: float = 2e8


class Price(NamedTuple):
    """What persistence costs, measured; on other machines within a factor of 3 or so.

    Attributes:
        run: seconds per diagram in one field.
        simplex: seconds per simplex.
        simplex_bytes: bytes per simplex.
        work: seconds of an edge collapse per unit of the sum of squared degrees.
    """

    run: float = 0.01
    simplex: float = 5e-7
    simplex_bytes: float = 30
    work: float = 4e-8


PRICE = Price()


@dataclass
class Budget:
    """What may still be spent: seconds from now on, and bytes at any time; None for no limit."""

    max_seconds: float | None = None
    max_memory: int | None = None
    begin: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds left."""
        seconds = math.inf if self.max_seconds is None else self.max_seconds
        return seconds - (time.monotonic() - self.begin)

    def split(self, parts: int) -> Budget:
        """That of one of several parts that are still to be paid: a like share of what is left."""
        seconds = None if self.max_seconds is None else max(0.0, self.left() / parts)
        return Budget(seconds, self.max_memory)

    def run(self, share: float) -> RunLimit:
        """What one run may cost that takes this share of what is left."""
        seconds = max(0.0, self.left() * share)
        memory = math.inf if self.max_memory is None else self.max_memory
        most, affordable = RunLimit(), min(seconds / PRICE.simplex, memory / PRICE.simplex_bytes)
        return RunLimit(min(most.simplices, affordable), min(most.work, seconds / PRICE.work))


@dataclass(frozen=True)
class Run:
    """One set of landmarks and its diagrams (in the units of the prepared cloud).

    Attributes:
        resolution: 0 for the fine one, 1 for the coarse one.
        landmarks: shape (m, D).
        scale: their covering radius.
        threshold: the longest edge.
        diagrams: of the truncated Rips filtration.
        merges: lengths at which components merge, falling, and shares of the smaller, (m - 1, 2).
        simplices: predicted number of simplices.
        remark: what was given up for the budget, in words.
    """

    resolution: int
    landmarks: np.ndarray
    scale: float
    threshold: float
    diagrams: Diagrams
    merges: np.ndarray
    simplices: float
    remark: str = ""

    def strengths(self, p: int, degree: int) -> np.ndarray:
        """Strength of each bar, largest first: death/birth, in degree 0 death/scale."""
        if degree == 0:  # without stray clusters and the component that never dies
            length, share = self.merges.T
            return np.minimum(length[share >= LEAST_SHARE], self.threshold) / self.scale
        return ratios(self.diagrams[p][degree]) if degree < len(self.diagrams[p]) else np.empty(0)

    def cut_short(self, p: int, degree: int, dim: int, cut: float) -> bool:
        """Whether a bar that may be a class is alive at the longest edge, its ratio too small."""
        if degree == 0 or (dim, degree) not in LATEST_BIRTH:
            return False
        birth, death = self.diagrams[p][degree].T
        early = (birth > 0) & (birth <= LATEST_BIRTH[dim, degree] * self.scale)
        return bool((early & (death >= 0.999 * self.threshold) & (death <= cut * birth)).any())

    @property
    def stray(self) -> float:
        """Share of the cloud in stray clusters that stand as far off as a component would."""
        length, share = self.merges.T
        return float(share[(share < LEAST_SHARE) & (length > 3 * self.scale)].sum())


def rips_run(
    x: np.ndarray,
    landmarks: np.ndarray,
    scale: float,
    resolution: int,
    dim: int,
    max_dim: int,
    fields: Sequence[int],
    limit: RunLimit,
) -> Run:
    """Truncated Rips diagrams of landmarks of x, within a limit."""
    D = distances(landmarks)
    graph, threshold, top, simplices, remark = affordable_graph(D, scale, dim, max_dim, limit)
    diagrams = rips_diagrams(graph, threshold, fields, top)
    merges = _merges(D, _masses(x, landmarks))
    return Run(resolution, landmarks, scale, threshold, diagrams, merges, simplices, remark)


class FlagGraph(NamedTuple):
    """Edges of a flag complex after collapse, and what was given up to afford it."""

    graph: Any
    threshold: float
    top: int
    simplices: float
    remark: str


def affordable_graph(
    D: np.ndarray, scale: float, dim: int, max_dim: int, limit: RunLimit
) -> FlagGraph:
    """The edges up to the longest one, or fewer so that their complex is within the limit.

    First the threshold falls, to the least in `LONGEST_EDGE`, then the degree, to 0 where a
    quarter of all pairs of landmarks is closer than that.
    """
    quartile = float(np.quantile(D[np.triu_indices(len(D), 1)], 0.25)) if len(D) > 1 else 0.0
    longest, least = (edge * scale for edge in LONGEST_EDGE[dim])
    threshold, top, remark = min(longest, quartile), max_dim, ""
    if threshold < least:
        top, threshold = 0, max(threshold, 3.5 * scale)
    while True:
        degree = (D <= threshold).sum(axis=1) - 1.0
        if top == 0 or float((degree**2).sum()) <= limit.work:
            graph = collapsed_graph(D, threshold, top)
            size = simplex_count(graph, top + 1)
            if top == 0 or size <= limit.simplices:
                return FlagGraph(graph, threshold, top, size, remark)
        if threshold > 1.001 * least:
            threshold = max(least, 0.95 * threshold)
        else:
            remark = f"degrees from {top} on were left out: they cost too much"
            top -= 1


def simplex_count(graph: Any, dim: int, samples: int = 100) -> float:
    """Estimated number of simplices of dimension up to `dim` of a flag complex.

    The cliques with a sampled edge are counted: of k vertices there are (number of edges) x (mean
    count) / C(k, 2). Exact for all edges sampled, k <= 5.
    """
    m, edges = graph.shape[0], graph.nnz
    total = float(m + edges)
    if dim < 2 or edges == 0:
        return total
    adjacent = np.zeros((m, m), dtype=bool)
    adjacent[graph.row, graph.col] = adjacent[graph.col, graph.row] = True
    rng = np.random.default_rng(0)
    picked = np.arange(edges) if edges <= samples else rng.choice(edges, samples, replace=False)
    counts = np.zeros(3)
    for e in picked:
        common = np.flatnonzero(adjacent[graph.row[e]] & adjacent[graph.col[e]])
        S = adjacent[np.ix_(common, common)].astype(float)
        counts += len(common), S.sum() / 2, ((S @ S) * S).sum() / 6
    per_edge = edges * counts / len(picked) / np.array([3, 6, 10])
    return total + float(per_edge[: dim - 1].sum())


def _masses(x: np.ndarray, landmarks: np.ndarray, most: int = 5000) -> np.ndarray:
    """Share of the points, of `most` of them at random, that is nearest to each landmark."""
    if len(x) > most:
        x = x[np.random.default_rng(0).choice(len(x), most, replace=False)]
    near = nearest(landmarks, x, 1)[1][:, 0]
    return np.bincount(near, minlength=len(landmarks)) / len(x)


def _merges(distance: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Edges of a minimum spanning tree, longest first, with the mass of the lighter side."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    if len(distance) < 2:
        return np.empty((0, 2))
    tree = linkage(squareform(distance, checks=False), "single")
    weight, smaller = mass.tolist(), []
    for a, b in tree[:, :2].astype(int):
        weight.append(weight[a] + weight[b])
        smaller.append(min(weight[a], weight[b]))
    return np.stack([tree[:, 2], smaller], axis=1)[::-1]
