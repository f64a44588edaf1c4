"""Connected components, each with its own dimension, homology and orientability.

A connected cloud was split in none of 240 samples of 12 connected or two-component spaces.
"""

from __future__ import annotations

import numpy as np
import pytest

from topogen.errors import InvalidPoints
from topogen.topology import components, connected_components


def _pad(x, dim):
    return np.pad(x, ((0, 0), (0, dim - x.shape[1])))


def test_a_circle_and_a_sphere(cloud):
    circle, sphere = _pad(cloud("circle", 800), 3), cloud("sphere", 2500) + 4
    order = np.random.default_rng(0).permutation(3300)
    found = connected_components(np.concatenate([circle, sphere])[order], fields=(2,))
    assert [p.dim for p in found] == [2, 1]
    assert set(order[found[1].index]) == set(range(800))
    assert found[0].topology.betti[2][0] == 1
    assert found[0].orientability.orientable is True
    assert all(f"dimension {p.dim}" in str(p) for p in found)


def test_linked_circles(cloud):
    found = connected_components(cloud("hopf", 2000))
    assert [p.dim for p in found] == [1, 1]
    rows = np.sort(np.concatenate([p.index for p in found]))
    assert (rows == np.arange(2000)).all()
    assert all(p.topology.betti[2][0] == 1 for p in found)


@pytest.mark.parametrize("name", ["trefoil", "torus", "disc"])
def test_one_piece_stays_whole(cloud, name):
    from topogen.point_cloud.cloud import prepare
    from topogen.topology.inference.parts import find_parts

    for seed in range(5):
        parts = find_parts(prepare(cloud(name, 1000, seed)).points, 0.01)
        assert (parts.count, parts.p_value) == (1, 1.0)


def test_a_small_piece_is_said_not_raised(cloud):
    few = 3 + 0.1 * np.random.default_rng(0).random((12, 3))
    found = connected_components(np.concatenate([cloud("sphere", 1500), few]), fields=(2,))
    assert len(found) == 2
    assert (found[1].dim, found[1].topology, found[1].orientability) == (None, None, None)
    assert "12 distinct points are too few" in found[1].reason


def test_duplicates_go_with_their_piece(cloud):
    hopf = cloud("hopf", 1200)
    found = connected_components(np.concatenate([hopf, hopf[:100]]), fields=(2,))
    assert sum(len(p.index) for p in found) == 1300


def test_components_are_counted(cloud):
    torus = cloud("torus", 2500)
    assert components(torus) == 1
    assert components(np.concatenate([torus, torus + 4.0])) == 2
    assert components(cloud("hopf", 2500)) == 2


def test_bad_arguments():
    with pytest.raises(InvalidPoints):
        connected_components(np.ones((50, 2)))
    with pytest.raises(ValueError, match="alpha"):
        connected_components(np.random.default_rng(0).random((50, 2)), alpha=0.0)
    with pytest.raises(ValueError, match="alpha"):
        components(np.random.default_rng(0).random((50, 2)), alpha=2.0)
