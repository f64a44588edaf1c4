"""Whether a cloud shows a boundary, and whether it ends there or only thins out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...point_cloud.cloud import Cloud
from ...point_cloud.knn import nearest, neighbour_distance
from ..local.manifold_test import manifold_test

# on the boundary of uniform clouds the spacing is 1.0 to 1.2 times the median and 1.0 to 1.3 times
# that nearby, on holes that uneven closed manifolds show 1.5 to 160 and 1.4 to 6 times, with more
# unclear links (tests/topology/inference/test_visible_boundary.py)
SHARP, THIN = 1.5, 1.4


class VisibleBoundary(NamedTuple):
    """What the links of a cloud say of its boundary.

    Attributes:
        sharp: there is one, and the points are as dense there as elsewhere, or as nearby up to a
            long edge: the space ends.
        thin: there is one, and the points are sparser towards it: the density may only fall.
    """

    sharp: bool
    thin: bool


def visible_boundary(cloud: Cloud, dim: int, seed: int, *, k: int = 10) -> VisibleBoundary:
    """Look for points whose links are half spheres, and compare spacings there and elsewhere.

    Args:
        cloud: a prepared cloud.
        dim: its dimension; nothing is seen above 3.
        seed: of the links that are looked at.
        k: the distance to the k-th neighbour is the spacing.
    """
    alone = cloud.alone()
    test = manifold_test(alone, dim=dim, seed=seed)
    x = alone.points
    rows = np.intersect1d(test.boundary, test.tested)
    if len(rows) < 2:  # an arc shows two ends, each by the points around it
        return VisibleBoundary(sharp=False, thin=False)
    spacing = neighbour_distance(x, k)
    near = nearest(x, x[rows], min(6 * k, len(x)))[1]
    overall = float(np.median(spacing[rows]) / np.median(spacing))
    nearby = float(np.median(spacing[rows] / np.median(spacing[near], axis=1)))
    unclear = float((test.labels == "undecided").mean())
    # edges of surfaces among sparse points are .12 to .5 of the links, spaced as nearby up to 1.3
    # times; holes of uneven closed ones are up to .05, tails spaced 1.8 to 2.5 times as far
    dense = overall < SHARP or len(rows) >= 0.1 * len(test.tested)
    # links that are unclear, as few as in manifold_test
    sharp = dense and nearby < THIN and unclear <= 0.05
    return VisibleBoundary(sharp, not sharp and overall > SHARP and nearby > THIN)
