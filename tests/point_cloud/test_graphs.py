"""Covers by balls and components of graphs."""

from __future__ import annotations

import numpy as np

from topogen.point_cloud.knn import component_labels, distances, nearest
from topogen.point_cloud.landmarks import greedy_cover


def test_components_are_numbered_by_their_first_nodes():
    assert component_labels(6, np.array([4, 1]), np.array([0, 5])).tolist() == [0, 1, 2, 3, 0, 1]


def test_every_row_lies_in_a_ball_of_a_greedy_cover():
    x = np.random.default_rng(0).random((200, 2))
    d = distances(x)
    order = np.random.default_rng(1).permutation(200)
    chosen = greedy_cover(200, order, lambda i: np.flatnonzero(d[i] <= 0.2))
    assert (d[chosen].min(axis=0) <= 0.2).all()
    assert (d[chosen][:, chosen] + np.eye(len(chosen)) > 0.2).all()
    assert chosen[0] == order[0]


def test_exact_distances_do_not_round_far_from_the_origin():
    x = np.random.default_rng(0).random((40, 20)) + 1e6
    x[20:] = x[:20] + 1e-4
    assert np.allclose(nearest(x, x, 2, exact=True)[0][:, 1], 1e-4 * np.sqrt(20), rtol=1e-4)
