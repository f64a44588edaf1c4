"""Bending: near 0 where flat, large on a tube thinner than the scale, whatever the units."""

from __future__ import annotations

import numpy as np
import pytest

from topogen import check_topology
from topogen.point_cloud.cloud import Cloud
from topogen.point_cloud.landmarks import farthest_points
from topogen.topology.inference.flatness import (
    MOST_DEVIATION,
    away_from_singular,
    find_creases,
    flatness_deviation,
)


def cube(n, seed=0):
    """Uniform on the surface of the unit cube."""
    rng = np.random.default_rng(seed)
    x, axis = rng.random((n, 3)), rng.integers(0, 3, n)
    x[np.arange(n), axis] = rng.integers(0, 2, n)
    return x


def sheet_with_handle(n, R, r, seed=0):
    """The unit square, and half a torus that stands on it."""
    rng = np.random.default_rng(seed)
    m = round(n * 2 * np.pi**2 * R * r / (1 + 2 * np.pi**2 * R * r))
    t, u = np.pi * rng.random(m), 2 * np.pi * rng.random(m)
    s = R + r * np.cos(u)
    handle = np.c_[0.5 + s * np.cos(t), 0.5 + r * np.sin(u), s * np.sin(t)]
    return np.concatenate([np.c_[rng.random((n - m, 2)), np.zeros(n - m)], handle])


def cloud_of(x):
    return Cloud(x, np.arange(len(x)), 1.0, len(x), 0, (), source=x)


def looked_at(x, m):
    index, radius = farthest_points(x, m, 0)
    return x[index], float(radius[-1])


def tube(r, n=3000, seed=0):
    rng = np.random.default_rng(seed)
    t = 2 * np.pi * rng.random(n)
    return np.stack([4 * rng.random(n), r * np.cos(t), r * np.sin(t)], axis=1)


@pytest.mark.parametrize(("noise", "most"), [(0.0, 1e-6), (0.01, 0.3)])
def test_a_flat_sheet_does_not_bend(noise, most):
    rng = np.random.default_rng(0)
    x = np.c_[rng.random((3000, 2)), noise * rng.standard_normal(3000)]
    assert flatness_deviation(x, *looked_at(x, 200), 2, 0) < most


def test_a_thinner_handle_deviates_more_and_one_below_the_scale_too_much():
    rng, values = np.random.default_rng(0), []
    for r in (1.0, 0.5, 0.25, 0.1):  # beside a sheet, at about 100 points per unit of area
        sheet = np.c_[6 * rng.random((3600, 2)) + 5, np.zeros(3600)]
        x = np.concatenate([sheet, tube(r, round(100 * 4 * 2 * np.pi * r))])
        index, radius = farthest_points(x, 1500, 0)
        m = int((radius > 0.3).sum()) + 1
        values.append(flatness_deviation(x, x[index[:m]], 0.3, 2, 0))
    assert values[0] < values[1] < min(values[2:])
    assert values[0] < MOST_DEVIATION[2] < min(values[2:])  # radii below the scale


def test_units_and_frames_do_not_matter():
    x = tube(0.5)
    marks, scale = looked_at(x, 300)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    turned = flatness_deviation(1e3 * x @ turn, 1e3 * marks @ turn, 1e3 * scale, 2, 0)
    assert turned == pytest.approx(flatness_deviation(x, marks, scale, 2, 0), rel=1e-6)


def test_balls_without_points_say_nothing():
    x = np.random.default_rng(0).random((30, 2))
    assert flatness_deviation(x, x[:5], 1e-6, 2, 0) == np.inf


@pytest.mark.slow
def test_crossing_sheets_are_distinguished_from_a_manifold():
    rng = np.random.default_rng(0)
    u, none = rng.uniform(-1, 1, (2, 1200, 2)), np.zeros(1200)
    flat, upright = np.c_[u[0], none], np.c_[u[1][:, 0], none, u[1][:, 1]]
    x = np.concatenate([flat, upright])
    marks, scale = looked_at(x, 300)
    away = away_from_singular(cloud_of(x), marks, scale, 2, 0)
    line = np.linalg.norm(marks[:, 1:], axis=1)  # distance from the line where they cross
    assert away[line > 0.6].all()
    assert not away[line < scale].any()
    assert away_from_singular(cloud_of(flat), *looked_at(flat, 300), 2, 0) is None


def test_a_ball_that_is_not_flat_leaves_room_below_the_scale():
    from topogen.point_cloud.cloud import prepare
    from topogen.topology.inference.flatness import room_below

    rng = np.random.default_rng(0)

    def circle(n, radius, centre):
        t = 2 * np.pi * rng.random(n)
        return np.stack([centre + radius * np.cos(t), radius * np.sin(t), 0 * t], axis=1)

    def room(x, scale, dim, degree):
        cloud = prepare(x)
        marks = cloud.points[:: max(1, len(x) // 300)]
        return room_below(cloud, marks, scale / cloud.unit, dim, degree)

    sphere = rng.standard_normal((2500, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    half = np.c_[sphere[:, :2], np.abs(sphere[:, 2])]
    large = circle(2400, 20.0, 0.0)
    assert not room(large[large[:, 0] > 0], 0.5, 1, 1)
    assert not room(half, 0.08, 2, 1)
    assert not room(half, 0.08, 2, 2)
    # a loop of 60 points that touches a circle, a sphere on a sphere
    loop = np.concatenate([large, circle(60, 0.5, 20.5)])
    assert room(loop, 0.64, 1, 1)
    assert not room(loop, 0.64, 1, 2)  # a sphere would leave the plane
    assert room(np.concatenate([sphere, 0.1 * sphere[:600] + [0, 0, 1.1]]), 0.09, 2, 2)


def creases(x, scale=None):
    index, radius = farthest_points(x, 600, 0)
    m = 600 if scale is None else int((radius > scale).sum()) + 1
    return find_creases(x, x[index[:m]], float(radius[m - 1]), 2, 0)


def test_creases_are_distinguished_from_handles_and_tubes():
    found = creases(cube(2500))
    assert found.blunt
    assert found.everywhere
    assert 0 < found.away.sum() < len(found.away)
    for x in (sheet_with_handle(3000, 0.12, 0.04), sheet_with_handle(3000, 0.06, 0.02)):
        assert not creases(x).blunt
    assert not creases(tube(0.1), 0.09).blunt
    flat = np.c_[np.random.default_rng(0).random((2000, 2)), np.zeros(2000)]
    assert not creases(flat).everywhere


@pytest.mark.parametrize("n", [2500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_the_surface_of_a_cube_is_settled(n):
    report = check_topology(cube(n), (1, 0, 1))
    assert report.verdict == "agrees", str(report)
    assert any("creases" in remark for remark in report.remarks)


@pytest.mark.slow
@pytest.mark.parametrize("n", [5000, 20_000])
def test_cubes_are_settled_or_say_that_points_do_not_help(n):
    for seed in range(3):
        report = check_topology(cube(n, seed), (1, 0, 1))
        assert report.verdict == "agrees" or report.cause == "creases", str(report)
