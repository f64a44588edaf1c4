"""Outliers: clean clouds keep every row; planted ones are found; nothing else changes the answer.

Bars over all planted cases below (2 % uniform background, 2500 points): at least 60 % of the
outliers are found, and at least 60 % of what is left out are outliers.
"""

from __future__ import annotations

import numpy as np
import pytest

from topogen import check_topology
from topogen.point_cloud.cloud import prepare
from topogen.topology.inference.outliers import (
    connected_degrees,
    off_manifold,
    outliers,
    trim_outliers,
)

DIM = {"circle": 1, "trefoil": 1, "torus": 2, "klein": 2, "rp2": 2, "so3": 3}


def with_background(x, share, seed):
    rng = np.random.default_rng(seed)
    low, high = x.min(axis=0) - 0.5, x.max(axis=0) + 0.5
    return np.concatenate([x, rng.uniform(low, high, (round(share * len(x)), x.shape[1]))])


def left_out(x, dim, seed=0):
    retained = trim_outliers(prepare(x).points, dim, seed)
    assert (np.diff(retained) > 0).all()
    return np.setdiff1d(np.arange(len(x)), retained)


@pytest.mark.parametrize("name", [*DIM, "moebius"])
@pytest.mark.parametrize("n", [150, 300, 1500])
def test_uniform_samples_keep_every_row(cloud, name, n):
    for seed in range(3):
        assert left_out(cloud(name, n, seed), DIM.get(name, 2), seed).size == 0


@pytest.mark.parametrize("name", DIM)
def test_planted_outliers_are_found(cloud, name):
    n = 2500
    gone = left_out(with_background(cloud(name, n), 0.02, 1), DIM[name])
    found = int((gone >= n).sum())
    assert found >= 0.6 * round(0.02 * n)
    assert found >= 0.6 * len(gone)


def test_one_far_point_goes_only_where_it_sets_the_gap(cloud):
    far = np.full((1, 2), 3.0)
    assert 1000 in left_out(np.concatenate([cloud("circle", 1000), far]), 1)
    assert len(left_out(np.concatenate([cloud("circle", 1000), far]), 1)) <= 2
    # on a sphere the median of three hold-out halves is set by its own largest hole
    assert left_out(np.concatenate([cloud("sphere", 1000), np.full((1, 3), 3.0)]), 2).size == 0


@pytest.mark.parametrize("concentration", [1.0, 2.0, 3.0])
def test_the_thin_tail_of_a_density_on_a_circle_stays(concentration):
    for seed in range(3):
        t = np.random.default_rng(seed).vonmises(0.0, concentration, 3000)
        assert left_out(np.stack([np.cos(t), np.sin(t)], axis=1), 1).size == 0


def test_a_cloud_of_noise_is_left_alone(cloud):
    x = with_background(cloud("torus", 2000), 0.43, 0)  # 30 % of all
    assert left_out(x, 2).size == 0
    for D in (2, 3):
        gauss = np.random.default_rng(D).standard_normal((1000, D))
        assert left_out(gauss, D).size <= 0.15 * 1000


def test_the_answer_repeats_and_does_not_depend_on_the_frame(cloud):
    x = with_background(cloud("torus", 1500), 0.02, 0)
    gone = left_out(x, 2)
    assert gone.size
    assert left_out(x, 2).tolist() == gone.tolist()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    assert left_out(1e6 * x @ rotation + 1e3, 2).tolist() == gone.tolist()
    assert left_out(np.pad(x, ((0, 0), (0, 4))), 2).tolist() == gone.tolist()


def test_few_points_are_never_judged():
    x = np.random.default_rng(0).random((30, 2))
    x[0] = 100.0
    assert len(trim_outliers(prepare(x).points, 1, 0)) == 30


def test_the_tail_of_a_density_is_no_outlier():
    """On a sphere: lonely points, on the manifold of the others; uniform ones are off it."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3)) * [0.35, 0.35, 0.0] + [0, 0, 1.0]
    x /= np.linalg.norm(x, axis=1)[:, None]
    assert outliers(prepare(x).points, 2, 0).size == 0
    far = np.concatenate([x, rng.uniform(-2, 2, (12, 3))])
    off = off_manifold(prepare(far).points, 2)
    # far outliers are neighbours of one another, but some stand off the plane of theirs
    assert off.size > 0
    assert (off >= 4000).all()
    # where there are some, trim_outliers finds the others, and lonely points of the tail too
    found = outliers(prepare(far).points, 2, 0)
    assert (found >= 4000).sum() >= 11
    assert (found < 4000).sum() <= 12


@pytest.mark.parametrize("seed", range(3))
def test_a_single_outlier_is_found(cloud, seed):
    x = np.concatenate([cloud("circle", 1200, seed), [[0.3, 0.2]]])
    assert 1200 in outliers(prepare(x).points, 1, seed)


def ring(n=400):
    t = 2 * np.pi * np.arange(n) / n
    return np.c_[np.cos(t), np.sin(t)]


def test_a_bridge_connects_and_scattered_points_do_not():
    bridge = np.c_[np.linspace(-0.95, 0.95, 40), np.zeros(40)]
    assert set(connected_degrees(bridge, ring(), 0.05, 1)) == {1}
    assert not connected_degrees(bridge[:20], ring(), 0.05, 1)  # it ends in the middle
    assert not connected_degrees(bridge + np.array([0, 3]), ring(), 0.05, 1)  # far away
    apart = np.random.default_rng(0).uniform(-2, 2, (40, 2))
    assert not connected_degrees(apart, ring(), 0.05, 1)
    near = ring(100) * 1.03  # beside the others all along
    assert not connected_degrees(near, ring(), 0.05, 1)


def test_a_membrane_fills():
    rng = np.random.default_rng(0)
    t, r = 2 * np.pi * rng.random(600), np.sqrt(rng.random(600))
    disc = np.c_[r * np.cos(t), r * np.sin(t)]
    assert not connected_degrees(disc, ring(), 0.12, 1)
    assert set(connected_degrees(disc, ring(), 0.12, 2)) == {2}
    assert not connected_degrees(disc[r > 0.6], ring(), 0.12, 2)  # it leaves a hole


def test_a_visible_bridge_does_not_pass(cloud):
    for seed in range(2):
        rng = np.random.default_rng(seed)
        noisy = cloud("circle", 3000, seed) + 0.02 * rng.standard_normal((3000, 2))
        bridge = np.c_[2 * rng.random(60) - 1, 0.01 * rng.standard_normal(60)]
        report = check_topology(np.concatenate([noisy, bridge]), (1, 1), seed=seed)
        assert report.verdict == "undetermined", str(report)
        assert report.cause == "outliers"
        assert check_topology(noisy, (1, 1), seed=seed).verdict == "agrees"
