"""The affine span of a cloud: the same distances in as few columns as there are directions."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from topogen.point_cloud.span import affine_span


def rotated(z, D, seed=0):
    V = np.linalg.qr(np.random.default_rng(seed).normal(size=(D, z.shape[1])))[0]
    return z @ V.T + 5.0


@pytest.mark.parametrize(("n", "m", "D"), [(300, 3, 7), (50, 6, 4000), (400, 40, 200)])
def test_distances_are_kept(n, m, D):
    z = np.random.default_rng(1).normal(size=(n, m))
    x = rotated(z, D)
    span = affine_span(x, 2)
    assert span.V.shape == (D, m)
    inner = span.inner(x)
    assert np.abs(pdist(inner) - pdist(z)).max() < 1e-12 * D
    assert np.abs(span.centre + inner @ span.V.T - x).max() < 1e-12 * D


def test_points_that_span_everything_stay():
    assert affine_span(np.random.default_rng(0).normal(size=(100, 5)), 2) is None
    assert affine_span(np.random.default_rng(0).normal(size=(1000, 300)), 2) is None


def test_points_span_less_than_their_number():
    x = np.random.default_rng(0).normal(size=(40, 500))
    assert affine_span(x, 2).V.shape == (500, 39)


def test_no_fewer_columns_than_asked_for():
    x = rotated(np.random.default_rng(0).normal(size=(100, 1)), 30)
    span = affine_span(x, 3)
    assert span.V.shape == (30, 3)
    assert np.abs(span.V.T @ span.V - np.eye(3)).max() < 1e-12


def test_equal_rows_stay_equal():
    x = rotated(np.random.default_rng(0).normal(size=(101, 2)), 50)
    z = affine_span(x, 2).inner(np.concatenate([x, x[::-1]]))
    assert np.array_equal(z[:101], z[101:][::-1])


@pytest.mark.parametrize("small", [1e-4, 1e-7])
def test_small_directions_count_above_the_rounding_of_float32(small):
    z = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 1.0, small]
    assert affine_span(rotated(z, 10), 2).V.shape[1] == (3 if small > 1e-6 else 2)


def test_points_rounded_to_float32_keep_their_span():
    z = np.random.default_rng(0).normal(size=(200, 6))
    x = rotated(z, 800).astype(np.float32).astype(np.float64)
    assert affine_span(x, 2).V.shape == (800, 6)
