"""Single linkage against scipy's, and against every pair of points."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

from topogen.point_cloud.linkage import Merge, long_links, merges, spanning_tree


@pytest.mark.parametrize(("n", "D"), [(2, 1), (40, 1), (300, 2), (300, 5), (200, 30)])
@pytest.mark.parametrize("clusters", [1, 3, 8])
def test_edges_are_the_lengths_of_single_linkage(n, D, clusters):
    rng = np.random.default_rng(n + D)
    x = rng.standard_normal((n, D)) + 100 * rng.integers(0, clusters, (n, 1))
    a, b, lengths = spanning_tree(x, 12)
    assert np.linalg.norm(x[a] - x[b], axis=1) == pytest.approx(lengths)
    assert lengths == pytest.approx(np.sort(linkage(pdist(x), "single")[:, 2]))


def test_merges_of_three_clusters():
    x = np.concatenate([np.arange(10.0), 20 + np.arange(10.0), 60 + np.arange(12.0)])[:, None]
    never = merges(spanning_tree(x), 5, lambda merge: False)
    assert [(m.length, sorted(m.sizes), m.links) for m in never] == [
        (11.0, [10, 10], (1.0, 1.0)),
        (31.0, [12, 20], (1.0, 11.0)),
    ]
    # clusters that stay apart leave no long link in their union
    always = merges(spanning_tree(x), 5, lambda merge: True)
    assert [m.ratios for m in always] == [(11.0, 11.0), (31.0, 31.0)]
    assert merges(spanning_tree(x), 13, lambda merge: False) == []
    assert all(isinstance(m, Merge) for m in never)


def test_links_longer_than_half_the_longest():
    # links 1, 2, 3 in one cluster, 1 and 5 in the other, 20 apart
    x = np.cumsum([0.0, 1, 2, 3, 20, 1, 5])[:, None]
    tree = spanning_tree(x)
    (merge,) = [m for m in merges(tree, 3, lambda _: False) if m.length == 20]
    assert long_links(tree, merge) == 2  # 2 and 3, against 5 alone
