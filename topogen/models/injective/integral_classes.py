"""Integral classes of degree 1 of a graph, made harmonic: circle-valued functions on its nodes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...errors import TrainingError
from ...topology.persistence.cohomology import integral_basis, persistent_classes, reduced_basis
from .neighbor_graph import Graph, solve

PRIME = 47
EDGES_PER_LANDMARK = 40


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


def landmarks(graph: Graph, count: int) -> Landmarks:
    """Farthest nodes by geodesic distance; on a cover always both nodes over a point.

    Raises:
        TrainingError: the graph is not connected.
    """
    if count not in graph.known:
        graph.known[count] = _landmarks(graph, count)
    return graph.known[count]


def _landmarks(graph: Graph, count: int) -> Landmarks:
    from scipy.sparse.csgraph import dijkstra

    A = graph.matrix(graph.length)
    chosen, rows = [0], [dijkstra(A, directed=False, indices=0)]
    if not np.isfinite(rows[0]).all():
        far = int((~np.isfinite(rows[0])).sum())
        raise TrainingError(
            f"expected points that neighbours connect, got {far} of {graph.n} apart from the "
            "first; drop outliers, give more points, or fit each component alone"
        )
    swap = graph.sigma(np.arange(graph.n)) if graph.sheets == 2 else None
    while len(chosen) < min(count, graph.n):
        if swap is not None:
            chosen.append(int(swap[chosen[-1]]))
            rows.append(rows[-1][swap])
        least = rows[0].copy() if len(rows) == 1 else np.minimum.reduce(rows)
        chosen.append(int(least.argmax()))
        rows.append(dijkstra(A, directed=False, indices=chosen[-1]))
    if swap is not None and len(chosen) % 2:
        chosen.append(int(swap[chosen[-1]]))
        rows.append(rows[-1][swap])
    distance = np.stack(rows)
    return Landmarks(np.array(chosen), distance, distance.argmin(axis=0))


@dataclass(frozen=True, eq=False)
class Classes:
    """The strongest classes of degree 1 of the Rips complex of the landmarks.

    Attributes:
        cocycles: one per class, over pairs of landmarks, shape (k, m, m); 0 or 1 over Z/2, else
            integers.
        adjacent: the pairs on which they are defined, and each landmark with itself.
        label: the landmark of every node.
        ratios: death / birth of all classes found, the strongest first.
    """

    cocycles: np.ndarray
    adjacent: np.ndarray
    label: np.ndarray
    ratios: np.ndarray

    def along(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """The cocycles on edges between nodes, shape (k, e)."""
        return self.cocycles[:, self.label[i], self.label[j]]

    def undefined(self, i: np.ndarray, j: np.ndarray) -> float:
        """Share of edges between nodes on which the cocycles are not defined."""
        return float((~self.adjacent[self.label[i], self.label[j]]).mean())


def strongest_classes(graph: Graph, marks: Landmarks, count: int, prime: int = PRIME) -> Classes:
    """The `count` classes of the largest death / birth of the Rips complex of the landmarks.

    Over the integers (by a lift from Z/47), or over Z/2.

    Raises:
        TrainingError: there are fewer, they do not live at one scale, or do not lift.
    """
    D = marks.distance[:, marks.nodes]
    D = (D + D.T) / 2
    m = len(D)
    lengths = np.sort(D[np.triu_indices(m, 1)])
    threshold = float(lengths[min(EDGES_PER_LANDMARK * m, len(lengths)) - 1])
    classes = persistent_classes(D, threshold, prime=prime, least_ratio=1.05)
    ratios = np.array([c.death / c.birth for c in classes])
    best = classes[:count]
    low = max((c.birth for c in best), default=0.0)
    high = min((c.death for c in best), default=0.0)
    if len(best) < count or low >= high:
        shown = ", ".join(f"{r:.2f}" for r in ratios[: count + 1]) or "none"
        raise TrainingError(
            f"expected {count} loops that live at one scale, got death/birth {shown} from {m} "
            "landmarks; the data may not have this base, or give more points"
        )
    scale = high * 0.999
    adjacent = scale >= D
    modular = np.array([c.cocycle * adjacent for c in best], dtype=np.int64)
    if prime == 2:
        return Classes(modular % 2, adjacent, marks.label, ratios)
    lift = integral_basis(modular, adjacent & ~np.eye(m, dtype=bool), prime)
    if lift is None:
        raise TrainingError(
            f"expected classes over Z/{prime} that lift to the integers, got none; give more "
            "points"
        )
    return Classes(lift, adjacent, marks.label, ratios)


def harmonic_angles(graph: Graph, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Angles, shape (n, k), and the harmonic forms on the edges, shape (k, e), in turns.

    With L f = div of the class, :math:`\eta - df` has the least energy in its class and is the
    differential of the angle :math:`2\pi f`; the k classes are exchanged for a short basis of
    their lattice, which removes shears.
    """
    L = graph.laplacian()
    weighted = classes * graph.weight
    div = np.stack(
        [np.bincount(graph.j, z, graph.n) - np.bincount(graph.i, z, graph.n) for z in weighted]
    )
    f = np.stack([solve(L, d) for d in div])
    eta = classes - f[:, graph.j] + f[:, graph.i]
    U = reduced_basis((eta * graph.weight) @ eta.T)
    return 2 * np.pi * ((U @ f).T % 1.0), U @ eta
