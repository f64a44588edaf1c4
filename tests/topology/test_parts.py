"""Landmarks, persistence, p-values and consistency: each against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.topology import compare
from topogen.topology.evidence import Evidence, check_consistency
from topogen.topology.landmarks import (
    farthest_points,
    nearest,
    neighbour_distance,
    prepare,
    principal_coordinates,
)
from topogen.topology.nulls import cut_off, p_value
from topogen.topology.persistence import collapsed_graph, distances, ratios, rips_diagrams


def test_covering_radii_are_covering_radii():
    x = np.random.default_rng(0).random((400, 3))
    index, radius = farthest_points(x, 30, 5)
    assert index[0] == 5
    assert len(set(index)) == 30
    for m in (1, 7, 30):
        to_landmarks = np.linalg.norm(x[:, None] - x[index[:m]], axis=2).min(axis=1)
        assert radius[m - 1] == pytest.approx(to_landmarks.max())
    assert (np.diff(radius) <= 1e-12).all()


@pytest.mark.parametrize("D", [2, 30])
def test_nearest_is_nearest(D):
    rng = np.random.default_rng(0)
    x, q = rng.random((300, D)), rng.random((40, D))
    distance, index = nearest(x, q, 5)
    everything = np.sort(np.linalg.norm(q[:, None] - x, axis=2), axis=1)
    assert distance == pytest.approx(everything[:, :5])
    assert np.linalg.norm(q[:, None] - x[index], axis=2) == pytest.approx(distance)


def test_preparation_keeps_distances_and_says_what_it_did():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.random((60, 40)), 2, axis=0)  # D > 20 and n < D: an exact rotation
    cloud = prepare(x)
    assert cloud.duplicates == 60
    assert "60 duplicate" in cloud.remarks[0]
    assert distances(cloud.points) * cloud.unit == pytest.approx(distances(x[cloud.index]))


def test_noise_axes_are_cut_and_signal_is_kept():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 60)) * 0.01
    x[:, :3] += rng.standard_normal((2000, 3))
    kept, words = principal_coordinates(x - x.mean(axis=0))
    assert kept.shape == (2000, 3)
    assert "3 of 60" in words
    decaying = rng.standard_normal((2000, 60)) * 0.85 ** np.arange(60)  # no noise floor
    decaying -= decaying.mean(axis=0)
    kept, words = principal_coordinates(decaying)
    assert words == ""
    # what is dropped is below 1 % of the spacing: distances stay
    pairs = rng.integers(2000, size=(500, 2))
    before, after = (
        np.linalg.norm(y[pairs[:, 0]] - y[pairs[:, 1]], axis=1) for y in (decaying, kept)
    )
    assert np.abs(before - after).max() < 0.02 * neighbour_distance(decaying, 1).max()
    pure, words = principal_coordinates(rng.standard_normal((2000, 60)))
    assert pure.shape == (2000, 60)
    assert not words


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


def test_p_values_fall_and_invert_the_cut_off():
    for d in (1, 2, 3, 4, 9):
        for k in range(4):
            for level in (0.1, 0.01, 0.001):
                assert p_value(cut_off(level, d, k), d, k) == pytest.approx(level, rel=1e-6)
            p = [p_value(r, d, k) for r in (1.0, 1.2, 1.5, 2.0, 3.0)]
            assert p == sorted(p, reverse=True)


def _evidence(two, three):
    p = {2: [0.0] * len(two), 3: [0.0] * len(three)}
    return Evidence({2: list(two), 3: list(three)}, p, [], 1.0, [[1.0, 1.0]] * len(two))


@pytest.mark.parametrize(
    ("two", "three", "closed", "kept"),
    [
        ((1, 2, 1), (1, 1, 0), True, True),  # Klein bottle
        ((1, 1, 1, 1), (1, 0, 0, 1), True, True),  # SO(3)
        ((1, 1, 0), (1, 0, 0), False, False),  # 2-torsion in H_1 shows in degree 2 as well
        ((1, 2, 0), (1, 2, 0), True, False),  # no top class: not closed, or not resolved
        ((1, 2, 0), (1, 2, 0), False, True),  # a torus with a hole would do
    ],
)
def test_impossible_numbers_are_withdrawn(two, three, closed, kept):
    evidence = _evidence(two, three)
    check_consistency(evidence, len(two) - 1, closed)
    assert (evidence.betti == {2: list(two), 3: list(three)}) is kept
    assert bool(evidence.reasons) is not kept


def test_compare(cloud):
    same = compare(cloud("sphere", 1500, 1), cloud("sphere", 1500, 2))
    other = compare(cloud("sphere", 1500, 1), cloud("torus", 2500, 2))
    assert (same.verdict, other.verdict) == ("agrees", "disagrees")
    assert len(same.bottleneck[2]) == 3
    assert compare(cloud("sphere", 1500), cloud("torus", 50)).verdict == "undetermined"
