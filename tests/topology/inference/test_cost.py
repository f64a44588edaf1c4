"""Cost estimates: for the degrees and fields that a check would test, and as strict about them."""

from __future__ import annotations

import numpy as np
import pytest

from topogen import check_topology
from topogen.errors import InvalidPoints
from topogen.topology import estimate_cost


def test_degrees_and_landmarks_are_those_of_the_check(cloud):
    x = cloud("sphere", 1000)
    cost, report = estimate_cost(x), check_topology(x)
    assert (cost.dim, cost.max_dim) == (report.dim, report.max_dim) == (2, 2)
    assert cost.landmarks == pytest.approx(report.landmarks, rel=0.3)
    assert str(cost).startswith("about ")


def test_more_degrees_make_larger_complexes(cloud):
    x = cloud("torus", 1000)
    sizes = [estimate_cost(x, max_dim=k).simplices for k in range(3)]
    assert sizes == sorted(sizes)


def test_bad_arguments_are_refused(cloud):
    x = cloud("circle", 100)
    with pytest.raises(ValueError, match="max_dim"):
        estimate_cost(x, max_dim=4)
    with pytest.raises(ValueError, match="primes"):
        estimate_cost(x, fields=(4,))
    with pytest.raises(InvalidPoints):
        estimate_cost(np.ones((20, 2)))
