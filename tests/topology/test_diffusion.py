"""Diffusion distances: their definition, their invariances, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest

from topogen import check_topology
from topogen.errors import InvalidPoints
from topogen.topology.diffusion import COORDINATES, NEIGHBOURS, STEPS, diffusion_cloud
from topogen.topology.landmarks import neighbours, prepare
from topogen.topology.persistence import distances


def walk(x):
    """Transition matrix P and degrees D of the neighbour graph, dense."""
    A = np.zeros((len(x), len(x)))
    A[np.arange(len(x))[:, None], neighbours(x, NEIGHBOURS)[1]] = 1.0
    A = np.maximum(A, A.T)
    return A / A.sum(axis=1, keepdims=True), A.sum(axis=1)


def test_distances_are_those_of_the_walk(cloud):
    prepared = prepare(cloud("circle", 200))
    found = diffusion_cloud(prepared)
    P, D = walk(prepared.points)
    after = np.linalg.matrix_power(P, STEPS) / np.sqrt(D)
    exact = distances(after)
    assert found.points.shape == (200, COORDINATES)
    # the coordinates left out hold the fast modes: mu_41^8
    assert distances(found.points) * found.unit == pytest.approx(exact, abs=0.02 * exact.max())


def test_isometries_and_units_change_nothing(cloud):
    rng = np.random.default_rng(0)
    x = cloud("torus", 300)
    frame = np.linalg.qr(rng.standard_normal((6, 3)))[0]
    one, other = (
        distances(diffusion_cloud(prepare(y)).points) for y in (x, 7e3 * x @ frame.T + 5)
    )
    assert one == pytest.approx(other, abs=1e-6)
    order = rng.permutation(300)
    shuffled = distances(diffusion_cloud(prepare(x[order])).points)
    assert shuffled == pytest.approx(one[np.ix_(order, order)], abs=0.05)


def test_the_seed_starts_the_solver_only(cloud):
    prepared = prepare(cloud("sphere", 200))
    one, same, other = (diffusion_cloud(prepared, seed=s).points for s in (1, 1, 2))
    assert (one == same).all()
    assert distances(one) == pytest.approx(distances(other), abs=1e-6)


@pytest.mark.parametrize("name", ["circle", "torus"])
def test_no_wrong_number_on_clean_connected_clouds(cloud, space, name):
    report = check_topology(cloud(name, 600), space(name), metric="diffusion")
    truth = space(name).homology
    assert report.verdict in ("agrees", "undetermined"), str(report)
    for p, numbers in report.betti.items():
        assert all(b in (None, truth.betti_number(k, p)) for k, b in enumerate(numbers))
    assert any("no lengths" in remark for remark in report.remarks)


def test_noise_in_more_dimensions_than_points_hides_less_of_a_circle():
    # correlation of the distance with the angle, over pairs less than a quarter turn apart
    rng = np.random.default_rng(0)
    n, D = 200, 300
    t = 2 * np.pi * rng.random(n)
    frame = np.linalg.qr(rng.standard_normal((D, 2)))[0]
    x = np.stack([np.cos(t), np.sin(t)], axis=1) @ frame.T + 0.1 * rng.standard_normal((n, D))
    prepared = prepare(x)
    angle = abs(np.angle(np.exp(1j * (t[:, None] - t))))
    near = (angle > 0) & (angle < np.pi / 2)
    walked = distances(diffusion_cloud(prepared).points)[near]
    straight = distances(prepared.points)[near]
    gain = np.corrcoef(walked, angle[near])[0, 1] - np.corrcoef(straight, angle[near])[0, 1]
    assert gain > 0.1


def test_only_the_largest_part_is_looked_at_and_the_report_says_so(cloud):
    x = np.concatenate([cloud("circle", 400), cloud("circle", 200, 1) + 10.0])
    found = diffusion_cloud(prepare(x))
    assert found.index.tolist() == list(range(400))
    assert "the largest part, 400 points" in found.remarks[0]
    report = check_topology(x, metric="diffusion")
    assert any("the largest part, 400 points" in remark for remark in report.remarks)


@pytest.mark.parametrize("n", [10, 16])
def test_a_graph_in_which_all_are_neighbours_is_refused(n):
    x = np.random.default_rng(0).random((n, 2))
    with pytest.raises(InvalidPoints, match="use metric='euclidean'"):
        check_topology(x, metric="diffusion")
    check_topology(np.random.default_rng(0).random((17, 2)), metric="diffusion")
