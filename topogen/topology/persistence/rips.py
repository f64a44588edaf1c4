"""Persistence diagrams of landmarks: truncated Vietoris-Rips, one edge collapse for all fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Diagrams = dict[int, list[np.ndarray]]

PRIMES_BELOW = 46337  # gudhi multiplies two residues in 32 bits


def collapsed_graph(distance: np.ndarray, threshold: float, max_dim: int) -> Any:
    """Edges up to `threshold`, fewer by an edge collapse that changes no diagram.

    For degree 0 alone the edges of a minimum spanning tree are enough.

    Follows Boissonnat and Pritam, 2020 (https://doi.org/10.4230/LIPIcs.SoCG.2020.19), as in gudhi.

    Returns:
        a scipy sparse matrix of shape (m, m) in coordinate form.
    """
    from gudhi.flag_filtration.edge_collapse import reduce_graph
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import minimum_spanning_tree

    if max_dim == 0:
        tree = coo_matrix(minimum_spanning_tree(distance))
        short = tree.data <= threshold
        return coo_matrix((tree.data[short], (tree.row[short], tree.col[short])), tree.shape)
    i, j = np.nonzero(np.triu(distance <= threshold, 1))
    graph = coo_matrix((distance[i, j], (i, j)), shape=distance.shape)
    return reduce_graph(graph, 2) if graph.nnz else graph


def rips_diagrams(graph: Any, threshold: float, fields: Sequence[int], max_dim: int) -> Diagrams:
    r"""Persistence of the Vietoris-Rips filtration, an edge entering at its length.

    Args:
        graph: from :func:`collapsed_graph`, with the same `threshold`.
        threshold: the largest edge; classes alive there get it as their death.
        fields: primes p; homology is over Z/p.
        max_dim: the largest degree.

    Returns:
        {p: [array of (birth, death), shape (b, 2), for each degree]}.
    """
    from gudhi.sklearn.rips_persistence import RipsPersistence

    result: Diagrams = {}
    for p in fields:
        rips = RipsPersistence(
            homology_dimensions=list(range(max_dim + 1)),
            threshold=threshold,
            homology_coeff_field=p,
            input_type="distance coo_matrix",
            num_collapses=0,
        )
        bars = rips.fit_transform([graph])[0]
        result[p] = [
            np.minimum(np.asarray(b, dtype=float).reshape(-1, 2), threshold) for b in bars
        ]
    return result


def truncated_rips(
    distance: np.ndarray, threshold: float, fields: Sequence[int], max_dim: int
) -> Diagrams:
    """:func:`rips_diagrams` of the :func:`collapsed_graph` of pairwise distances."""
    graph = collapsed_graph(distance, threshold, max_dim)
    return rips_diagrams(graph, threshold, fields, max_dim)


def ratios(diagram: np.ndarray) -> np.ndarray:
    """death/birth of the bars of one degree >= 1, largest first."""
    positive = diagram[diagram[:, 0] > 0]
    return np.sort(positive[:, 1] / positive[:, 0])[::-1]


def by_rank(strengths: Sequence[np.ndarray]) -> np.ndarray:
    """Strengths of bars, largest first, one row per diagram; 1 where a diagram has no more bars.

    The shape is (number of diagrams, 1 + most bars): the last column is 1.
    """
    width = max(map(len, strengths)) + 1
    return np.array([np.pad(s, (0, width - len(s)), constant_values=1.0) for s in strengths])
