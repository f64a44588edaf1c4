"""Rips runs: what they cost is known, components need points, budgets are honoured."""

from __future__ import annotations

import math

import gudhi
import numpy as np
import pytest
from scipy.sparse import coo_matrix

from topogen.point_cloud.knn import distances
from topogen.point_cloud.landmarks import farthest_points
from topogen.topology.persistence.landmark_rips import (
    LEAST_SHARE,
    LONGEST_EDGE,
    Budget,
    RunLimit,
    _merges,
    rips_run,
    simplex_count,
)


def random_graph(m, p, seed):
    i, j = np.nonzero(np.triu(np.random.default_rng(seed).random((m, m)) < p, 1))
    return coo_matrix((np.ones(len(i)), (i, j)), shape=(m, m))


def flag_size(graph, dim):
    tree = gudhi.SimplexTree()
    for v in range(graph.shape[0]):
        tree.insert([v])
    for i, j in zip(graph.row, graph.col, strict=True):
        tree.insert([int(i), int(j)])
    tree.expansion(dim)
    return tree.num_simplices()


@pytest.mark.parametrize(("m", "p"), [(3, 1.0), (12, 1.0), (40, 0.0), (25, 0.7), (60, 0.3)])
@pytest.mark.parametrize("dim", [1, 2, 3, 4])
def test_the_count_is_exact_when_every_edge_is_looked_at(m, p, dim):
    graph = random_graph(m, p, m)
    assert simplex_count(graph, dim, samples=10**6) == pytest.approx(flag_size(graph, dim))


def test_the_count_from_a_hundred_edges_is_unbiased():
    # errors of single graphs are about 8 %; the mean of 30 within 4 standard errors: 1e-4
    ratio = []
    for seed in range(30):
        x = np.random.default_rng(seed).random((150, 3))
        D = distances(x)
        graph = coo_matrix(np.triu(D * (D < 0.35), 1))
        ratio.append(simplex_count(graph, 4) / flag_size(graph, 4))
    assert abs(np.mean(ratio) - 1) < 4 * np.std(ratio) / math.sqrt(30)
    assert np.std(ratio) < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_merges_are_the_deaths_of_degree_zero(seed):
    x = np.random.default_rng(seed).standard_normal((60, 2))
    D, mass = distances(x), np.random.default_rng(seed).dirichlet(np.ones(60))
    merges = _merges(D, mass)
    tree = gudhi.RipsComplex(distance_matrix=D).create_simplex_tree(1)
    tree.compute_persistence()
    deaths = tree.persistence_intervals_in_dimension(0)[:, 1]
    assert merges[:, 0] == pytest.approx(np.sort(deaths[np.isfinite(deaths)])[::-1])
    assert (merges[:, 1] <= 0.5 + 1e-12).all()
    # cutting the longest edge leaves two parts, the lighter of which is the first mass
    label = np.unique(_cut(D, merges[0, 0]), return_inverse=True)[1]
    assert merges[0, 1] == pytest.approx(min(np.bincount(label, weights=mass)))
    assert _merges(D[:1, :1], np.ones(1)).shape == (0, 2)


def _cut(D, length):
    from scipy.sparse.csgraph import connected_components

    return connected_components(D < length * (1 - 1e-9))[1]


def two_clusters(small, n=2000):
    rng = np.random.default_rng(0)
    return np.concatenate([rng.random((n, 2)), rng.random((small, 2)) * 0.1 + 3.0])


def run_of(x, scale, *, dim=2, max_dim=0, most=2e6):
    index, radius = farthest_points(x, len(x) // 4, 0)
    m = int((radius >= scale).sum())
    return rips_run(x, x[index[:m]], float(radius[m - 1]), 0, dim, max_dim, (2, 3), RunLimit(most))


@pytest.mark.parametrize(("small", "components"), [(3, 1), (9, 1), (11, 2), (40, 2)])
def test_a_component_has_half_a_percent_of_the_points(small, components):
    x = two_clusters(small)
    assert (small / len(x) >= LEAST_SHARE) == (components == 2)
    run = run_of(x, 0.1)
    assert 1 + int((run.strengths(2, 0) > 2.5).sum()) == components
    assert run.stray == pytest.approx(small / len(x) if components == 1 else 0.0)


def test_strays_near_each_other_count_together():
    # two clusters of 0.3 % each, close to each other and far from the rest, are one of 0.6 %
    rng = np.random.default_rng(0)
    small = [rng.random((6, 2)) * 0.05 + [3.0, y] for y in (0.0, 0.4)]
    run = run_of(np.concatenate([rng.random((2000, 2)), *small]), 0.1)
    assert int((run.strengths(2, 0) > 2.5).sum()) == 1
    assert run.stray == pytest.approx(6 / 2012)


def test_budgets_are_monotone_and_bounded():
    assert Budget().run(1.0).simplices == RunLimit().simplices
    assert Budget().left() == math.inf
    begin = Budget().begin
    by_time = [Budget(s, None, begin).run(0.1).simplices for s in (1e-9, 0.5, 2.0, 1e6)]
    by_share = [Budget(5.0, None, begin).run(share).simplices for share in (0.01, 0.1, 1.0)]
    by_memory = [Budget(None, b).run(1.0).simplices for b in (2**20, 2**24, 2**40)]
    for numbers in (by_time, by_share, by_memory):
        assert numbers == sorted(numbers)
        assert numbers[0] < numbers[-1] <= RunLimit().simplices
    assert Budget(1e-9, None, begin - 1).run(1.0).simplices == 0.0


@pytest.mark.slow
def test_a_run_with_fewer_simplices_has_shorter_edges_then_fewer_degrees(cloud):
    x = cloud("fat torus", 2500) / 6
    free = run_of(x, 0.035, max_dim=2)
    assert free.remark == ""
    assert free.threshold == pytest.approx(LONGEST_EDGE[2][0] * free.scale)
    budgets = free.simplices * np.array([8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.0])
    runs = [run_of(x, 0.035, max_dim=2, most=most) for most in budgets]
    for most, run in zip(budgets, runs, strict=True):
        top = len(run.diagrams[2]) - 1
        assert len(run.diagrams[3]) == top + 1
        assert top == 0 or run.simplices <= most
        assert top == 0 or run.threshold >= LONGEST_EDGE[2][1] * run.scale
        assert bool(run.remark) == (top < 2)
    assert (np.diff([len(run.diagrams[2]) for run in runs]) <= 0).all()
    assert (np.diff([run.threshold for run in runs]) <= 0).all()
    none = runs[-1]
    assert "degrees from 1 on" in none.remark
    assert none.threshold < free.threshold
    # degree 0 is the same whatever was given up
    assert none.strengths(2, 0)[:5] == pytest.approx(free.strengths(2, 0)[:5])
    assert none.strengths(2, 2).size == 0


def test_ratios_and_merges_do_not_depend_on_the_unit(cloud):
    x = cloud("sphere", 800)
    index, radius = farthest_points(x, 150, 0)
    one = rips_run(x, x[index], radius[-1], 0, 2, 2, (3,), RunLimit())
    many = rips_run(1e5 * x, 1e5 * x[index], 1e5 * radius[-1], 0, 2, 2, (3,), RunLimit())
    for k in range(3):
        assert many.strengths(3, k) == pytest.approx(one.strengths(3, k), rel=1e-6)
    assert one.strengths(3, 2)[0] > 1.4  # the sphere itself
    assert (one.strengths(3, 1) < 2.3).all()
