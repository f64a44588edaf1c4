"""Repeats of a place count once, whatever tells them apart: rounding, a jitter, float32."""

from __future__ import annotations

import numpy as np
import pytest

from topogen.errors import InvalidPoints
from topogen.point_cloud.cloud import prepare
from topogen.point_cloud.landmarks import holdout_gap
from topogen.point_cloud.repeats import first_of_clusters, first_of_places


def circle(n, seed=0):
    t = 2 * np.pi * np.random.default_rng(seed).random(n)
    return np.stack([np.cos(t), np.sin(t)], axis=1)


@pytest.mark.parametrize("jitter", [0.0, 1e-15, 1e-13, 1e-12, 1e-9, 1e-6, 1e-5])
@pytest.mark.parametrize("times", [2, 20, 37])
def test_each_place_counts_about_once(jitter, times):
    rng = np.random.default_rng(1)
    x = np.repeat(circle(400), times, axis=0)
    x *= 1 + jitter * rng.standard_normal((len(x), 1))
    cloud = prepare(x[rng.permutation(len(x))])
    # two places count as one where the next is ten times as far, repeats as several where the
    # next place is nearer than that
    assert 320 <= len(cloud.points) <= (600 if times == 2 else 400 + 0.1 * len(x))
    gap = holdout_gap(cloud.points, np.random.default_rng(0))
    once = holdout_gap(prepare(circle(400)).points, np.random.default_rng(0))
    assert gap == pytest.approx(once, rel=0.5)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_numbers_of_float32_are_one_place_within_their_last_digits(offset):
    rng = np.random.default_rng(2)
    x = np.repeat(circle(200) * max(1.0, offset), 15, axis=0) + offset
    last_digit = np.spacing(np.abs(x).astype(np.float32))
    x = (x + last_digit * rng.integers(-2, 3, x.shape)).astype(np.float32)
    assert len(prepare(x).points) <= 200
    assert len(prepare(x.astype(np.float64)).points) <= 200


def test_a_sampled_sine_has_as_many_places_as_samples_in_a_period():
    k = np.arange(3000)
    s = np.sin(2 * np.pi * k / 50)
    assert len(prepare(np.stack([s[:-12], s[12:]], axis=1)).points) == 50


@pytest.mark.parametrize("D", [1, 2, 30, 400])
def test_places_keep_the_first_row_in_any_dimension(D):
    rng = np.random.default_rng(D)
    x = rng.random((60, D))
    twice = np.concatenate([x, x + 1e-14 * rng.standard_normal(x.shape)])
    assert first_of_places(twice, 1e-12).tolist() == list(range(60))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_random_samples_keep_every_point(dim):
    x = np.random.default_rng(dim).random((2500, dim))
    assert len(first_of_clusters(x, 13)) == 2500
    assert len(prepare(x).points) == 2500


def test_small_and_dense_parts_are_no_repeats():
    # 700 points of a circle of radius 1e-4 are a part, though far closer than the rest
    x = np.concatenate([1e-4 * circle(700), 5 + circle(700, 1)])
    assert len(prepare(x).points) == 1400


def test_few_places_are_refused():
    x = np.repeat(circle(5), 100, axis=0)
    x *= 1 + 1e-15 * np.random.default_rng(0).standard_normal((500, 1))
    with pytest.raises(InvalidPoints, match="rounding"):
        prepare(x)
