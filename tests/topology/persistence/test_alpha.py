"""The alpha filtration against gudhi's (CGAL), its null, and clouds that break Delaunay codes."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.topology.persistence.alpha import (
    JITTER,
    alpha_diagrams,
    alpha_noise,
    circumspheres,
    in_span,
    jittered,
    predicted_simplices,
)
from topogen.topology.persistence.rips import ratios


def _sphere(n, D, rng):
    z = rng.standard_normal((n, D))
    return z / np.linalg.norm(z, axis=1, keepdims=True)


def _angles(*theta):
    return np.concatenate([np.stack([np.cos(t), np.sin(t)], axis=1) for t in theta], axis=1)


def _trefoil(t):
    return np.stack(
        [np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1
    )


def _clouds():
    rng = np.random.default_rng(0)
    u, v = 2 * np.pi * rng.random((2, 250))
    rho = 2 + np.cos(v)
    return {
        "square": rng.random((300, 2)),
        "sphere": _sphere(300, 3, rng),
        "torus": np.stack([rho * np.cos(u), rho * np.sin(u), np.sin(v)], axis=1),
        "flat torus": _angles(u, v)[:150],
        "cube in R^4": rng.random((120, 4)),
        "trefoil": _trefoil(u),
    }


@pytest.mark.parametrize("name", _clouds())
def test_diagrams_are_those_of_cgal(name):
    from gudhi import AlphaComplex  # GPL: an oracle for this test only
    from gudhi.hera import bottleneck_distance

    x = _clouds()[name]
    D = x.shape[1]
    found = alpha_diagrams(x, (2, 3), D - 1)
    tree = AlphaComplex(points=jittered(in_span(x), 0)).create_simplex_tree()
    assert found.simplices == tree.num_simplices()
    for p in (2, 3):
        tree.compute_persistence(homology_coeff_field=p)
        for k in range(D):
            theirs = np.sqrt(tree.persistence_intervals_in_dimension(k)).reshape(-1, 2)
            assert bottleneck_distance(found.diagrams[p][k], theirs, 0.0) < 1e-9


def test_circumspheres_of_thin_triangles_pass_through_the_vertices():
    rng = np.random.default_rng(0)
    x = rng.random((3, 3)) + np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    x[1] = (x[0] + x[2]) / 2 + 1e-7 * rng.standard_normal(3)  # a height of 1e-7
    centre, radius = circumspheres(x, np.array([[0, 1, 2]]))
    to_vertices = np.linalg.norm(x - centre, axis=1)
    assert to_vertices == pytest.approx(np.full(3, radius[0]), rel=1e-6)


def test_a_circle_and_an_octahedron_by_hand():
    circle = _angles(2 * np.pi * np.arange(12) / 12)
    loop = alpha_diagrams(circle, (2,), 1).diagrams[2]
    assert loop[1] == pytest.approx(np.array([[np.sin(np.pi / 12), 1.0]]), abs=1e-5)
    assert len(loop[0]) == 12
    octahedron = np.concatenate([np.eye(3), -np.eye(3)])
    void = alpha_diagrams(octahedron, (3,), 2).diagrams[3][2]
    void = void[
        void[:, 1] > 1.001 * void[:, 0]
    ]  # the jitter cuts the regular octahedron into slivers
    assert void == pytest.approx(np.array([[np.sqrt(2 / 3), 1.0]]), abs=1e-5)


# points in general position are the exception here: cospherical, on a grid, in a plane, on a line
DEGENERATE = {
    "grid in R^2": np.stack(np.meshgrid(*[np.arange(20.0)] * 2), -1).reshape(-1, 2),
    "grid in R^3": np.stack(np.meshgrid(*[np.arange(8.0)] * 3), -1).reshape(-1, 3),
    "circle in R^2": _angles(2 * np.pi * np.arange(200) / 200),
    "circle in R^3": np.c_[_angles(2 * np.pi * np.arange(200) / 200), np.zeros(200)],
    "sphere": _sphere(300, 3, np.random.default_rng(0)),
    "plane in R^3": np.random.default_rng(0).random((200, 2)) @ np.array([[1, 2, 3], [3, 1, 0.0]]),
    "line in R^3": np.arange(20.0)[:, None] * np.array([1, 2, 3.0]),
    "two radii": np.r_[_angles(np.arange(50.0)), 2 * _angles(np.arange(50.0))],
}
CLASSES = {"circle in R^2": (1, 0), "circle in R^3": (1, 0), "sphere": (0, 1)}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_clouds_neither_hang_nor_crash(name):
    x = DEGENERATE[name]
    found = alpha_diagrams(x, (2,), 2)
    bars = found.diagrams[2]
    assert len(bars) == 3
    assert np.isinf(bars[0][:, 1]).sum() == 1
    for degree, count in enumerate(CLASSES.get(name, ()), start=1):
        strong = ratios(bars[degree])
        assert (strong > alpha_noise(2, degree, len(x)).cut_off(0.01)).sum() == count
    if name == "line in R^3":
        assert np.sort(bars[0][:, 1])[:-1] == pytest.approx(np.full(19, np.sqrt(14) / 2), rel=1e-4)


def test_the_seed_moves_the_points_by_no_more_than_the_jitter():
    x = np.random.default_rng(0).random((50, 3))
    assert np.abs(jittered(x, 1) - x).max() <= JITTER * np.ptp(x, axis=0).max()
    assert (jittered(x, 1) == jittered(x, 1)).all()
    assert (jittered(x, 1) != jittered(x, 2)).any()


def test_too_much_work_is_refused_with_a_reason():
    rng = np.random.default_rng(0)
    t = 2 * np.pi * rng.random(4000)
    curve = _trefoil(t)
    found = alpha_diagrams(curve, (2,), 1)  # quadratic: some 8 million simplices
    assert found.diagrams is None
    assert "4000 points" in found.reason
    assert found.simplices > 2_000_000
    high = alpha_diagrams(rng.random((50, 6)), (2,), 1)
    assert high.diagrams is None
    assert "R^6" in high.reason


@pytest.mark.parametrize("D", [2, 3, 4])
def test_the_prediction_is_close_on_points_that_fill_their_space(D):
    x = np.random.default_rng(0).random((600, D))
    exact = alpha_diagrams(x, (2,), D - 1).simplices
    assert predicted_simplices(x) == pytest.approx(exact, rel=0.35)


def test_cut_offs_bound_the_noise_of_a_disc():
    # 40 discs at level 0.05: 9 or more beyond the cut-off has probability 2e-4 under the bound
    cut = alpha_noise(2, 1, 200).cut_off(0.05)
    beyond = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        disc = np.sqrt(rng.random((200, 1))) * _angles(2 * np.pi * rng.random(200))
        beyond += int(ratios(alpha_diagrams(disc, (2,), 1).diagrams[2][1])[0] > cut)
    assert beyond < 9


def test_p_values_and_cut_offs_are_inverse_and_monotone():
    for dim, degree in [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 1)]:
        cuts = [alpha_noise(dim, degree, n).cut_off(0.01) for n in (30, 100, 400, 2000, 9000)]
        assert (np.diff(cuts) >= 0).all()
        assert alpha_noise(dim, degree, 400).cut_off(0.001) > cuts[2]
        assert alpha_noise(dim, degree, 400).p_value(cuts[2]) == pytest.approx(0.01)
