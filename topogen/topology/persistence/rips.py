"""Persistence diagrams of landmarks: truncated Vietoris-Rips, one edge collapse for all fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Diagrams = dict[int, list[np.ndarray]]

PRIMES_BELOW = 46337  # gudhi multiplies two residues in 32 bits


def collapsed_graph(distance: np.ndarray, threshold: float, max_dim: int) -> Any:
    """Edges up to `threshold`, fewer by an edge collapse that changes no diagram.

    For degree 0 alone the edges of a minimum spanning tree are enough. Collapses follow Boissonnat
    and Pritam, 2020 (https://doi.org/10.4230/LIPIcs.SoCG.2020.19), as in gudhi.

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


def rips_bars(
    given: Sequence[Any], threshold: float, degrees: Sequence[int], p: int, *, collapses: int = 0
) -> list[list[np.ndarray]]:
    """Bars (birth, death), shape (b, 2), by degree, of each of several Rips filtrations over Z/p.

    Args:
        given: distances, each an array or a sparse matrix in coordinate form, shape (m, m).
        threshold: the largest edge.
        degrees: of homology.
        p: a prime.
        collapses: of edges, by gudhi.
    """
    from gudhi.sklearn.rips_persistence import RipsPersistence

    whole = all(isinstance(distance, np.ndarray) for distance in given)
    rips = RipsPersistence(
        homology_dimensions=list(degrees),
        threshold=threshold,
        homology_coeff_field=p,
        input_type="full distance matrix" if whole else "distance coo_matrix",
        num_collapses=collapses,
    )
    found = rips.fit_transform(given)
    return [[np.asarray(b, dtype=float).reshape(-1, 2) for b in bars] for bars in found]


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
    bars = {p: rips_bars([graph], threshold, range(max_dim + 1), p)[0] for p in fields}
    return {p: [np.minimum(b, threshold) for b in by_degree] for p, by_degree in bars.items()}


def truncated_rips(
    distance: np.ndarray, threshold: float, fields: Sequence[int], max_dim: int
) -> Diagrams:
    """:func:`rips_diagrams` of the :func:`collapsed_graph` of pairwise distances."""
    return rips_diagrams(collapsed_graph(distance, threshold, max_dim), threshold, fields, max_dim)


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
