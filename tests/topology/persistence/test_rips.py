"""Truncated Rips diagrams: collapses and spanning trees keep them, and the field matters."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.point_cloud.knn import distances
from topogen.point_cloud.landmarks import farthest_points
from topogen.topology.persistence.rips import (
    by_rank,
    collapsed_graph,
    ratios,
    rips_diagrams,
    truncated_rips,
)


def test_degree_zero_needs_a_spanning_tree_only():
    D = distances(np.random.default_rng(0).random((80, 3)))
    zero = rips_diagrams(collapsed_graph(D, 0.3, 0), 0.3, (2,), 0)[2][0]
    more = rips_diagrams(collapsed_graph(D, 0.3, 1), 0.3, (2,), 1)[2][0]
    assert np.sort(zero[:, 1]) == pytest.approx(np.sort(more[:, 1]))


def test_collapse_keeps_the_diagrams_and_the_field_matters():
    import torch
    from gudhi import RipsComplex

    from topogen import ProjectivePlane

    x = ProjectivePlane().sample_uniform(2000, generator=torch.Generator().manual_seed(0)).numpy()
    x = x[farthest_points(x.astype(float), 70, 0)[0]].astype(float)
    D = distances(x)
    cut = 1.0
    bars = rips_diagrams(collapsed_graph(D, cut, 2), cut, (2, 3), 2)
    tree = RipsComplex(distance_matrix=D, max_edge_length=cut).create_simplex_tree(3)
    for p in (2, 3):
        tree.compute_persistence(homology_coeff_field=p, persistence_dim_max=False)
        for k in range(3):
            plain = np.minimum(tree.persistence_intervals_in_dimension(k), cut).reshape(-1, 2)
            plain = plain[plain[:, 1] > plain[:, 0]]
            ours = bars[p][k][bars[p][k][:, 1] > bars[p][k][:, 0]]
            assert np.sort(ours[:, 1]) == pytest.approx(np.sort(plain[:, 1]))
    # the loop of RP^2 has order two: it lives on over Z/2 and dies early over Z/3
    assert ratios(bars[2][1])[0] > 1.2 * ratios(bars[3][1])[0]


def test_truncated_rips_is_the_collapse_and_its_diagrams():
    D = distances(np.random.default_rng(1).random((60, 2)))
    ours = truncated_rips(D, 0.4, (2, 3), 1)
    theirs = rips_diagrams(collapsed_graph(D, 0.4, 1), 0.4, (2, 3), 1)
    assert all((ours[p][k] == theirs[p][k]).all() for p in (2, 3) for k in (0, 1))


def test_bars_by_rank_end_with_a_column_of_no_strength():
    table = by_rank([np.array([3.0, 2.0]), np.empty(0), np.array([4.0])])
    assert table.tolist() == [[3, 2, 1], [1, 1, 1], [4, 1, 1]]
