"""Landmarks: distinct rows, exact covering radii, coordinates that keep distances, bookkeeping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topogen.errors import InvalidPoints
from topogen.point_cloud.cloud import prepare, principal_coordinates
from topogen.point_cloud.frames import spectrum
from topogen.point_cloud.knn import distances, nearest, neighbour_distance, neighbours
from topogen.point_cloud.landmarks import count_for_radius, farthest_points, holdout_gap

distribution = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**20)


def curve(n, harmonics, seed):
    """A closed curve whose spectrum is flat: cos jt and sin jt for j = 1..harmonics."""
    t = 2 * np.pi * np.random.default_rng(seed).random(n)
    j = np.arange(1, harmonics + 1)
    return np.concatenate([np.cos(np.outer(t, j)), np.sin(np.outer(t, j))], axis=1)


def test_minus_zero_is_zero_once_prepared():
    x = np.random.default_rng(0).random((30, 2))
    x[:, 1] = np.where(np.arange(30) % 2, 0.0, -0.0)
    both = np.concatenate([x, np.where(x == 0, -x, x)])
    assert prepare(both).duplicates == 30
    assert prepare(both).index.tolist() == list(range(30))


@distribution
@given(seeds, st.integers(12, 60), st.integers(1, 4))
def test_covering_radii_are_exact_and_fall(seed, n, D):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, D)) * 10.0 ** rng.integers(-6, 7)
    start = int(rng.integers(n))
    index, radius = farthest_points(x, n - 1, start)
    table = np.linalg.norm(x[:, None] - x[index], axis=2)
    exact = np.minimum.accumulate(table, axis=1).max(axis=0)
    assert index[0] == start
    assert radius == pytest.approx(exact, rel=1e-6)
    assert (np.diff(radius) <= 0).all()
    for j in range(1, n - 1):  # each landmark is a farthest point from those before it
        assert table[index[j], :j].min() == pytest.approx(exact[j - 1], rel=1e-6)
    for m in (1, n // 2, n - 1):
        assert count_for_radius(radius, radius[m - 1]) >= m
        assert count_for_radius(radius, 1.001 * radius[0]) == 1
        chosen = count_for_radius(radius, float(exact[m - 1]) * 0.999)
        assert radius[chosen - 1] >= 0.999 * exact[m - 1]
        assert chosen == n - 1 or radius[chosen] < 0.999 * exact[m - 1]


@pytest.mark.parametrize("apart", [1e3, 1e7, 1e9, 1e11])
def test_close_points_far_from_the_origin_keep_their_distances(apart):
    a = np.random.default_rng(0).random((60, 2))
    x = np.concatenate([a, a + apart])
    x -= x.mean(axis=0)
    exact = np.linalg.norm(x[:, None] - x, axis=2)
    assert distances(x) == pytest.approx(exact, rel=1e-6)
    _, radius = farthest_points(x, 40, 0)
    assert radius[1:] == pytest.approx(
        np.minimum.accumulate(exact[:, farthest_points(x, 40, 0)[0]], axis=1).max(axis=0)[1:],
        rel=1e-6,
    )


@pytest.mark.parametrize("D", [3, 15])
def test_neighbours_leave_the_point_itself_out(D):
    x = np.random.default_rng(0).random((80, D))
    exact = np.sort(distances(x), axis=1)
    distance, index = neighbours(x, 7)
    assert distance == pytest.approx(exact[:, 1:8])
    assert (index != np.arange(80)[:, None]).all()
    assert neighbour_distance(x, 7) == pytest.approx(exact[:, 7])
    assert neighbours(x, 1000)[0].shape == (80, 79)
    assert nearest(x, x[:5], 80)[0] == pytest.approx(exact[:5])


@pytest.mark.parametrize("shape", [(40, 5), (5, 40), (3, 12, 6)])
def test_spectrum_is_the_squares_of_the_singular_values_about_the_mean(shape):
    y = np.random.default_rng(0).standard_normal(shape)
    centred = y - y.mean(axis=-2, keepdims=True)
    assert spectrum(y) == pytest.approx(np.linalg.svd(centred, compute_uv=False) ** 2)


def test_the_holdout_gap_covers_a_half_by_the_other():
    t = np.linspace(0, 1, 1001)[:, None]
    assert 0.001 <= holdout_gap(t, np.random.default_rng(0)) < 0.02
    gapped = np.concatenate([t, t + 1.5])
    assert holdout_gap(gapped, np.random.default_rng(0)) < 0.02  # a gap between parts is no hole


@distribution
@given(seeds, st.integers(30, 120), st.integers(21, 40), st.sampled_from([1.0, 0.3, 0.05, 0.003]))
def test_a_rotation_keeps_distances_to_one_percent_of_the_spacing(seed, n, D, thin):
    rng = np.random.default_rng(seed)
    a, b = 2 * np.pi * rng.random((2, n))
    torus = np.stack([np.cos(a), np.sin(a), thin * np.cos(b), thin * np.sin(b)], axis=1)
    x = torus @ np.linalg.qr(rng.standard_normal((D, 4)))[0].T
    y, words = principal_coordinates(x - x.mean(axis=0))
    spacing = np.median(nearest(x, x, 2)[0][:, 1])
    assert words == ""
    assert abs(distances(y) - distances(x)).max() <= 0.02 * spacing  # 1 % for each end


@pytest.mark.parametrize("n", [40, 300, 2000])
def test_a_thin_circle_factor_is_kept_and_white_noise_goes(n):
    rng = np.random.default_rng(n)
    a, b = 2 * np.pi * rng.random((2, n))
    flat = np.stack([np.cos(a), np.sin(a), 0.01 * np.cos(b), 0.01 * np.sin(b)], axis=1)
    x = flat @ np.linalg.qr(rng.standard_normal((30, 4)))[0].T
    assert prepare(x).points.shape[1] == 4
    assert prepare(x).remarks == ()
    if n >= 300:
        noisy = prepare(x + 1e-4 * rng.standard_normal(x.shape))
        assert noisy.points.shape[1] == 4
        assert noisy.remarks == ("4 of 30 principal axes retained, the rest is noise",)


@pytest.mark.parametrize("n", [300, 3000])
def test_a_flat_spectrum_alone_is_no_noise(n):
    # circle x curve: the 20 axes of the curve have equal singular values, as white noise does
    t = 2 * np.pi * np.random.default_rng(1).random(n)
    x = np.concatenate([np.cos(t)[:, None], np.sin(t)[:, None], 0.1 * curve(n, 10, 2)], axis=1)
    assert prepare(x).points.shape[1] == 22
    rng = np.random.default_rng(3)
    noise = np.concatenate([x[:, :2], 0.07 * rng.standard_normal((n, 20))], axis=1)
    assert prepare(noise).points.shape[1] == 2


@pytest.mark.slow
@distribution
@given(seeds)
def test_noise_distributions_other_than_the_gaussian_are_noise_too(seed):
    rng = np.random.default_rng(seed)
    draws = [
        rng.laplace(size=(400, 40)),
        rng.standard_t(5, (400, 40)),
        rng.random((400, 40)) - 0.5,
    ]
    for noise in draws:
        x = 0.01 * noise / noise.std()
        x[:, :2] += curve(400, 1, seed)
        assert 2 <= prepare(x).points.shape[1] <= 4  # a row of a heavy tail has an axis to itself


@pytest.mark.parametrize("power", [-300, -12, 0, 12, 300])
def test_units_and_shifts_are_undone(power):
    x = np.random.default_rng(0).random((50, 3))
    unit = 10.0**power
    cloud = prepare(unit * (x + 2.0))
    assert distances(cloud.points).max() == pytest.approx(1.0, abs=0.2)
    assert distances(cloud.points) * (cloud.unit / unit) == pytest.approx(distances(x), abs=1e-9)


def test_what_rounding_or_overflow_takes_is_refused_or_said():
    a = np.random.default_rng(0).random((200, 2))
    with pytest.raises(InvalidPoints, match="rescale the points"):
        prepare(a * 1.7e308)
    with pytest.raises(InvalidPoints, match="which is rounding"):
        prepare(a * 1e-14 + 1.0)
    with pytest.raises(InvalidPoints, match="lost to rounding"):
        prepare(np.concatenate([a * 1e-20, [[1.0, 1.0]]]))
    cloud = prepare(np.concatenate([a * 1e-20, 1 + a]))
    assert cloud.remarks == ("199 points left out that rounding makes equal to others",)
    assert len(cloud.points) == len(cloud.index) == 201


def test_rows_are_followed_through_every_step():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.random((300, 2)), 2, axis=0)
    x[0] = 50.0
    cloud = prepare(x, trim=0.01, most=250, seed=1)
    assert (cloud.given, cloud.duplicates) == (600, 299)
    assert len(cloud.points) == 248
    assert cloud.outliers == 2
    assert distances(cloud.points) * cloud.unit == pytest.approx(distances(x[cloud.index]))
    assert [r.split()[0] for r in cloud.remarks] == ["299", "250", "2"]
    part = cloud.only(np.arange(0, 248, 2), "every other", outliers=2)
    assert part.index.tolist() == cloud.index[::2].tolist()
    assert part.outliers == 4
    assert part.remarks == (*cloud.remarks, "every other")
    assert cloud.outliers == 2  # the first is as it was


def test_most_is_drawn_by_the_seed():
    x = np.random.default_rng(0).random((500, 2))
    one, same, other = (prepare(x, most=100, seed=s).index for s in (1, 1, 2))
    assert one.tolist() == same.tolist() == sorted(set(one.tolist()))
    assert one.tolist() != other.tolist()
    assert prepare(x, most=500).remarks == ()


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
    retained, words = principal_coordinates(x - x.mean(axis=0))
    assert retained.shape == (2000, 3)
    assert "3 of 60" in words
    decaying = rng.standard_normal((2000, 60)) * 0.85 ** np.arange(60)  # no noise floor
    decaying -= decaying.mean(axis=0)
    retained, words = principal_coordinates(decaying)
    assert words == ""
    # what is dropped is below 1 % of the spacing: distances stay
    pairs = rng.integers(2000, size=(500, 2))
    before, after = (
        np.linalg.norm(y[pairs[:, 0]] - y[pairs[:, 1]], axis=1) for y in (decaying, retained)
    )
    assert np.abs(before - after).max() < 0.02 * neighbour_distance(decaying, 1).max()
    pure, words = principal_coordinates(rng.standard_normal((2000, 60)))
    assert pure.shape == (2000, 60)
    assert not words
