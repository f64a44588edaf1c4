"""The tail index: how densities end."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.point_cloud.tails import tail_index


def mean_index(draw, at, dim, runs=20):
    """The mean over samples, each of standard deviation below .25."""
    return np.mean([tail_index(at, draw(np.random.default_rng(s)), dim)[0] for s in range(runs)])


@pytest.mark.parametrize("power", [0, 1, 3])
@pytest.mark.parametrize("n", [1000, 20_000])
def test_a_power_of_the_distance(power, n):
    found = mean_index(lambda rng: rng.random((n, 1)) ** (1 / (power + 1)), np.zeros((1, 1)), 1)
    # four standard errors, and a bias of the sixth neighbour at the end itself
    assert found == pytest.approx(power / (power + 1), abs=0.22)


@pytest.mark.parametrize("n", [1000, 20_000])
def test_an_exponential_tail_has_index_one(n):
    at = np.full((1, 1), 30.0)
    found = mean_index(lambda rng: rng.exponential(size=(n, 1)), at, 1)
    assert found == pytest.approx(1, abs=0.22)


@pytest.mark.parametrize("corner", [[0.5, 0.0], [0.0, 0.0]])
def test_edges_and_corners_of_a_square_have_index_zero(corner):
    found = mean_index(lambda rng: rng.random((3000, 2)), np.array([corner]), 2)
    assert found == pytest.approx(0.05, abs=0.15)


def test_a_normal_tail_lies_above():
    found = mean_index(lambda rng: rng.standard_normal((3000, 2)), np.array([[5.0, 0.0]]), 2)
    assert found > 0.5


def test_few_points_do():
    assert tail_index(np.zeros((2, 1)), np.arange(20.0)[:, None], 1).shape == (2,)


def test_places_that_coincide_have_a_finite_index():
    x = np.random.default_rng(0).random((500, 1))
    x[:20] = 0.01
    found = tail_index(np.array([[0.0], [1.0]]), x, 1)
    assert np.isfinite(found).all()
    alone = tail_index(np.array([[1.0]]), x, 1)
    assert found[1] == pytest.approx(alone[0], rel=1e-12)
