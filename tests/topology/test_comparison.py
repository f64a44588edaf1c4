"""Comparison of two clouds: distances by hand, the level and power of the permutation test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from topogen.errors import InvalidPoints
from topogen.point_cloud.knn import nearest
from topogen.point_cloud.landmarks import farthest_points
from topogen.topology import compare
from topogen.topology.comparison import (
    bottleneck,
    diagrams_at_one_scale,
    permutation_p_values,
    split_distances,
    wasserstein,
)


def _diagrams(*bars):
    return {2: [np.array(bars, dtype=float).reshape(-1, 2)]}


@pytest.mark.parametrize(
    ("first", "second", "infinity", "two"),
    [
        ([(0, 1)], [(0, 3)], 1.5, (0.5**2 + 1.5**2) ** 0.5),  # both to the diagonal
        ([(0, 3)], [(0.5, 3.2)], 0.5, 0.5),  # matched: largest coordinate
        ([(0, 3)], [], 1.5, 1.5),
        ([(0, 3), (1, 2)], [(0, 4)], 1.0, (1.0**2 + 0.5**2) ** 0.5),
        ([(0, 3)], [(0, 3)], 0.0, 0.0),
    ],
)
def test_distances_by_hand(first, second, infinity, two):
    u, v = _diagrams(*first), _diagrams(*second)
    assert bottleneck(u, v) == pytest.approx(infinity)
    assert wasserstein(u, v) == pytest.approx(two)
    assert wasserstein(v, u) == pytest.approx(two)


def test_wasserstein_is_that_of_gudhi(cloud):
    from gudhi.hera import wasserstein_distance

    first, second, _ = diagrams_at_one_scale(
        cloud("sphere", 400, 0), cloud("torus", 400, 1), (2,), 2
    )
    theirs = [
        wasserstein_distance(u, v, order=2.0, internal_p=np.inf, delta=1e-3)
        for u, v in zip(first[2], second[2], strict=True)
    ]
    assert wasserstein(first, second)[0] == pytest.approx(theirs, rel=2e-3)


def test_few_and_uneven_points_end():
    """Bars that the threshold cuts to length 0 once made an auction run forever."""
    rng = np.random.default_rng(0)
    rng.random((21, 2))
    x, y = rng.random((14, 3)), rng.random((300, 3))
    c = compare(x, y, permutations=99, fields=(2,))
    assert c.p_value is not None
    assert c.scale > 0
    assert compare(x[:10], y[:10], permutations=0).scale > 0


def test_landmarks_have_one_covering_radius(cloud):
    x, y = cloud("sphere", 500, 0), cloud("torus", 500, 1)
    first, second, scale = diagrams_at_one_scale(x, y, (2, 3), 2)
    for z, bars in ((x, first), (y, second)):
        landmarks = len(bars[2][0])  # every landmark is a bar of degree 0
        index = farthest_points(z, landmarks + 1, 0)[0]
        radius = nearest(z[index[:-1]], z, 1)[0].max()
        finer = nearest(z[index], z, 1)[0].max()
        assert radius >= scale - 1e-9
        assert finer <= scale + 1e-9


def test_p_values_are_exact():
    """Under the null the rows of T are exchangeable; false alarm 1e-6 per bound."""
    rng = np.random.default_rng(0)
    trials = 2000
    p = np.array(
        [
            [each.min(), joint]
            for each, joint in (
                permutation_p_values(rng.standard_normal((20, 1, 3))) for _ in range(trials)
            )
        ]
    )
    rejected = (p[:, 1] <= 0.05 + 1e-9).sum()
    assert binom.ppf(1e-6, trials, 0.05) <= rejected <= binom.ppf(1 - 1e-6, trials, 0.05)
    assert (p[:, 0] <= 0.05 + 1e-9).mean() > 0.1  # three looks at 5 % are not one look
    ties = permutation_p_values(np.ones((20, 2)))
    assert ties[0] == pytest.approx([1.0, 1.0])
    assert ties[1] == 1.0


@pytest.mark.slow
def test_level_on_two_samples_of_one_torus(cloud):
    """200 trials at level .05; false alarm 1e-4."""
    rejected = 0
    for s in range(200):
        x, y = cloud("torus", 150, 2 * s), cloud("torus", 150, 2 * s + 1)
        T = split_distances(x, y, (2,), 2, 19, np.random.default_rng(s))
        rejected += permutation_p_values(T)[1] <= 0.05 + 1e-9
    assert rejected <= binom.ppf(1 - 1e-4, 200, 0.05)


def test_power(cloud):
    x, y = cloud("torus", 800, 0), cloud("torus", 1600, 1)
    torn = y[np.abs(np.arctan2(y[:, 1], y[:, 0])) > 0.5][:800]
    for other in (torn, cloud("sphere", 800, 1)):
        T = split_distances(x, other, (2,), 2, 19, np.random.default_rng(0))
        assert permutation_p_values(T)[1] == pytest.approx(0.05)
    T = split_distances(x, y[:800], (2,), 2, 19, np.random.default_rng(0))
    assert permutation_p_values(T)[1] > 0.05


def test_two_circles_and_their_units(cloud):
    x, y = cloud("circle", 1000, 0), cloud("circle", 800, 1)
    c = compare(x, y, permutations=19)
    assert c.verdict == "agrees"
    assert c.p_value is not None
    assert c.p_value > 0.05
    again = compare(100 * x, 100 * y, permutations=19)
    assert again.wasserstein[2] == pytest.approx([100 * w for w in c.wasserstein[2]], rel=0.03)
    assert again.scale == pytest.approx(100 * c.scale)
    assert compare(x, y, permutations=19).p_values == c.p_values
    assert "one distribution: p" in str(c)


def test_homology_is_compared_across_spaces(cloud):
    x = cloud("circle", 1000, 0)
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 2)))[0]
    c = compare(x, cloud("circle", 1000, 1) @ frame.T)
    assert c.verdict == "agrees"
    assert (c.p_values, c.p_value, c.permutations) == (None, None, 0)
    assert c.bottleneck[2][1] < 0.1
    with pytest.raises(InvalidPoints, match=r"b: expected points in R\^2, got 5 columns"):
        compare(x, x @ frame.T, scores=("rtd",))


def test_scores_on_demand(cloud):
    c = compare(cloud("circle", 400, 0), cloud("circle", 400, 1), permutations=0, scores=("imd",))
    assert list(c.scores) == ["imd"]
    assert c.p_value is None
    assert "floor" in str(c)


@pytest.mark.parametrize(
    ("b", "options", "match"),
    [
        (np.full((50, 2), np.nan), {}, "b: expected finite"),
        (np.zeros(50), {}, r"b: expected shape \(n, D\)"),
        (np.eye(2), {}, "b: expected at least 10 distinct points, got 2"),
        (None, {"scores": ("fid",)}, "expected scores among .* got .'fid'."),
        (None, {"permutations": -1}, "expected permutations >= 0"),
        (None, {"max_dim": 4}, "max_dim"),
        (None, {"fields": (4,)}, "expected primes"),
    ],
)
def test_bad_arguments(cloud, b, options, match):
    x = cloud("circle", 100, 0)
    with pytest.raises(ValueError, match=match):
        compare(x, x if b is None else b, **options)


@pytest.mark.slow
def test_a_sphere_against_a_sphere_and_a_torus(cloud):
    same = compare(cloud("sphere", 1500, 1), cloud("sphere", 1500, 2))
    other = compare(cloud("sphere", 1500, 1), cloud("torus", 2500, 2))
    assert (same.verdict, other.verdict) == ("agrees", "disagrees")
    assert len(same.bottleneck[2]) == 3
    assert compare(cloud("sphere", 1500), cloud("torus", 50)).verdict == "undetermined"
