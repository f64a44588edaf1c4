"""Cochain distributions, bars against gudhi, lifts to the integers, and the lattice reduction."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.point_cloud.knn import distances
from topogen.topology.persistence.cohomology import (
    harmonic_potential,
    integral_basis,
    persistent_classes,
    reduced_basis,
)
from topogen.topology.persistence.rips import collapsed_graph, rips_diagrams


def triangles(graph):
    """All i < j < k that are pairwise adjacent, shape (t, 3)."""
    found = []
    for i in range(len(graph)):
        near = np.flatnonzero(graph[i, i + 1 :]) + i + 1
        j, k = np.nonzero(np.triu(graph[np.ix_(near, near)], 1))
        found.append(np.stack([np.full(len(j), i), near[j], near[k]], axis=1))
    return np.concatenate(found)


def d0(f, graph):
    return (f[None, :] - f[:, None]) * graph


def d1(eta, graph):
    i, j, k = triangles(graph).T
    return eta[i, j] + eta[j, k] + eta[k, i]


def wheel(m, prime=47):
    """Landmarks of a regular m-gon, its one class at an edge length that no triangle fills."""
    t = 2 * np.pi * np.arange(m) / m
    D = distances(np.stack([np.cos(t), np.sin(t)], axis=1))
    graph = (D < 1.2) & ~np.eye(m, dtype=bool)
    (only,) = persistent_classes(D, 2.0, prime=prime, least_ratio=1.5)
    return D, graph, only


@pytest.mark.parametrize("prime", [2, 3, 47])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bars_are_those_of_gudhi(prime, seed):
    x = np.random.default_rng(seed).standard_normal((60, 3))
    D = distances(x / np.linalg.norm(x, axis=1, keepdims=True) if seed else x)
    ours = [(c.birth, c.death) for c in persistent_classes(D, 1.6, prime=prime)]
    gudhi = rips_diagrams(collapsed_graph(D, 1.6, 1), 1.6, (prime,), 1)[prime][1]
    gudhi = gudhi[gudhi[:, 1] > gudhi[:, 0] * (1 + 1e-6)]
    ours = np.array([b for b in ours if b[1] > b[0] * (1 + 1e-6)]).reshape(-1, 2)
    assert len(ours) > 3
    np.testing.assert_allclose(sorted(ours.tolist()), sorted(gudhi.tolist()), rtol=1e-6)


@pytest.mark.parametrize("name", ["torus", "klein", "rp2"])
@pytest.mark.parametrize("prime", [2, 3, 47])
def test_every_cocycle_is_one_below_its_death(cloud, name, prime):
    D = distances(cloud(name, 120, 0))
    threshold = np.quantile(D, 0.3)
    classes = persistent_classes(D, threshold, prime=prime)
    assert len(classes) > 3
    for c in classes:
        graph = (D < c.death) & ~np.eye(len(D), dtype=bool)
        assert not ((c.cocycle + c.cocycle.T) % prime).any()
        assert not c.cocycle[D < c.birth].any()
        assert not (d1(c.cocycle, graph) % prime).any()
        longer = (D <= c.death) & ~np.eye(len(D), dtype=bool)
        if c.death < threshold:  # and no longer: a triangle with the last edge has no such value
            edge = np.argwhere(np.triu(longer & ~graph))
            assert len(edge) == 1
            i, j = edge[0]
            k = np.flatnonzero(graph[i] & graph[j])
            assert len(set((c.cocycle[i, k] + c.cocycle[k, j]) % prime)) > 1


def test_coboundary_law():
    _, graph, _ = wheel(24)
    f = np.random.default_rng(0).integers(-50, 50, 24)
    assert len(triangles(graph)) > 100
    assert not d1(d0(f, graph), graph).any()
    noise = np.random.default_rng(0).integers(-5, 5, (24, 24))
    assert d1((noise - noise.T) * graph, graph).any()


@pytest.mark.parametrize("prime", [5, 47, 32749])
@pytest.mark.parametrize("unit", [1, 2, -1])
def test_lift_ignores_units_and_coboundaries(prime, unit):
    """A unit of Z/p and a coboundary change no value on loops but the sign."""
    _, graph, only = wheel(24, prime)
    g = np.random.default_rng(1).integers(0, prime, 24)
    scrambled = (unit * only.cocycle.astype(np.int64) * graph + d0(g, graph)) % prime
    lifts = [
        integral_basis(c[None] % prime, graph, prime) for c in (only.cocycle * graph, scrambled)
    ]
    for lift in lifts:
        assert lift is not None
        assert not d1(lift[0], graph).any()
        assert abs(sum(lift[0][i, (i + 1) % 24] for i in range(24))) == 1


def test_lift_of_a_mixed_basis_spans_all_integral_classes(cloud):
    """Rows (5, 2), (1, 7) of determinant 33 over Z/47 give back a basis of H^1(T; Z)."""
    D = distances(cloud("flat torus", 200, 0))
    a, b = persistent_classes(D, 1.5, prime=47, least_ratio=1.5)[:2]
    scale = (max(a.birth, b.birth) * min(a.death, b.death)) ** 0.5
    graph = (D < scale) & ~np.eye(len(D), dtype=bool)
    plain = np.stack([a.cocycle, b.cocycle]).astype(np.int64) * graph
    mixed = np.einsum("ab,bij->aij", np.array([[5, 2], [1, 7]]), plain) % 47
    first, second = (integral_basis(c, graph, 47) for c in (plain, mixed))
    theta = []
    for basis in (first, second):
        assert not any(d1(eta, graph).any() for eta in basis)
        f = harmonic_potential(basis, graph)
        theta.append(np.stack([eta - d0(g, graph) for eta, g in zip(basis, f, strict=True)]))
    flat = [t.reshape(2, -1).T for t in theta]
    change = np.linalg.lstsq(flat[0], flat[1], rcond=None)[0]
    np.testing.assert_allclose(change, change.round(), atol=1e-6)
    assert abs(round(np.linalg.det(change))) == 1


def test_a_lift_that_is_not_safe_is_refused():
    """Two squares of value 1 and 2: no unit of Z/5 brings both below 5/3, one of Z/47 does."""
    eta = np.zeros((8, 8), dtype=np.int64)
    graph = np.zeros((8, 8), dtype=bool)
    for square, value in ((0, 1), (4, 2)):
        for i in range(4):
            a, b = square + i, square + (i + 1) % 4
            graph[a, b] = graph[b, a] = True
        eta[a, b], eta[b, a] = value, -value
    assert integral_basis(eta[None] % 5, graph, 5) is None
    lift = integral_basis(eta[None] % 47, graph, 47)
    assert lift is not None
    assert sorted(np.abs(lift[lift > 0])) == [1, 2]
    assert integral_basis(np.stack([eta, 3 * eta]) % 47, graph, 47) is None  # not a basis


def test_harmonic_representative_is_orthogonal_to_coboundaries_and_gauge_free():
    _, graph, only = wheel(30)
    eta = integral_basis(only.cocycle[None] * graph, graph, 47)
    rng = np.random.default_rng(2)
    g, g2 = rng.integers(-3, 4, 30), rng.standard_normal(30)
    weights = rng.random((30, 30)) + 0.1
    weights = weights + weights.T
    moved = eta + d0(g, graph)[None]
    for w in (None, weights):
        theta = [c[0] - d0(harmonic_potential(c, graph, w)[0], graph) for c in (eta, moved)]
        np.testing.assert_allclose(theta[0], theta[1], atol=1e-8)
        inner = (theta[0] * d0(g2, graph) * (graph if w is None else w)).sum()
        assert abs(inner) < 1e-7
    # the symmetric answer on a regular polygon: every step of one vertex is 1/30 of a turn
    f = harmonic_potential(eta, graph)[0]
    steps = [eta[0][i, (i + 1) % 30] - f[(i + 1) % 30] + f[i] for i in range(30)]
    np.testing.assert_allclose(np.abs(steps), 1 / 30, atol=1e-8)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_reduced_basis(k):
    rng = np.random.default_rng(k)
    true = np.diag(rng.uniform(0.5, 2.0, k))
    for _ in range(20):
        V = np.eye(k, dtype=int)
        for _ in range(12 * (k > 1)):
            a, b = rng.choice(k, 2, replace=False)
            V[a] += int(rng.integers(-2, 3)) * V[b]
        U = reduced_basis(V @ true @ V.T)
        assert abs(round(np.linalg.det(U))) == 1
        pretty = np.abs(U @ V)
        if k <= 3:  # an orthogonal basis is found again, up to order and sign
            np.testing.assert_array_equal(np.sort(pretty, axis=1)[:, :-1], 0)
            np.testing.assert_array_equal(pretty.sum(axis=0), 1)
