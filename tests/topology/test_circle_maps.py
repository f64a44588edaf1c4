"""Circular coordinates: known angles, known degrees, torsion, new points, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from topogen.errors import InvalidPoints
from topogen.topology import circle_maps, circular_coordinates
from topogen.topology.persistence.cohomology import PersistentClass

TURN = 2 * np.pi


def alignment(a, b):
    """|mean exp i(a - s b)|, the better sign s: 1 when the angles agree up to sign and shift."""
    return max(abs(np.exp(1j * (a - s * b)).mean()) for s in (1, -1))


def angle(x, first, second):
    return np.arctan2(x[:, second], x[:, first])


def circle_loop(n, dim, plane, centre=None):
    t = TURN * np.arange(n) / n
    x = np.zeros((n, dim)) if centre is None else np.tile(np.asarray(centre, float), (n, 1))
    x[:, plane[0]] += np.cos(t)
    x[:, plane[1]] += np.sin(t)
    return x


@pytest.fixture(scope="module")
def flat(cloud):
    x = cloud("flat torus", 1500, 0)
    return x, circular_coordinates(x, seed=0)


@pytest.fixture(scope="module")
def ring(cloud):
    x = cloud("circle", 600, 0)
    return x, circular_coordinates(x, seed=0)


def flat_loops():
    """One turn of either factor of the flat torus, the other angle at rest."""
    first, second = circle_loop(80, 4, (0, 1)), circle_loop(80, 4, (2, 3))
    first[:, 2] = second[:, 0] = 1.0
    return first, second


def test_circle(ring):
    x, c = ring
    assert c.values.shape == (600, 1)
    assert c.values.min() >= 0
    assert c.values.max() < TURN
    assert alignment(c.values[:, 0], angle(x, 0, 1)) > 0.98
    assert c.gram[0, 0] == pytest.approx(1.0, rel=0.15)  # |grad theta|^2 = 1 / radius^2
    loop = circle_loop(60, 2, (0, 1))
    degree = c.winding(loop)
    assert abs(degree) == [1]
    assert c.winding(loop[::-1]) == -degree
    assert c.winding(np.concatenate([loop, loop, loop])) == 3 * degree


@pytest.mark.parametrize(
    "seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)]
)
def test_flat_torus_has_its_two_angles(cloud, seed):
    x = cloud("flat torus", 1500, seed)
    c = circular_coordinates(x, seed=seed)
    degrees = np.stack([c.winding(loop) for loop in flat_loops()])
    assert abs(round(np.linalg.det(degrees))) == 1
    np.testing.assert_array_equal(np.sort(np.abs(degrees), axis=None), [0, 0, 1, 1])
    for a in range(2):
        b = int(np.abs(degrees[:, a]).argmax())
        assert alignment(c.values[:, a], angle(x, 2 * b, 2 * b + 1)) > 0.98
    np.testing.assert_allclose(c.gram, np.eye(2), atol=0.15)


@pytest.mark.slow
def test_torus_in_space(cloud):
    x = cloud("torus", 2500, 0)  # R = 1, r = 0.4
    c = circular_coordinates(x)
    around = 1.4 * circle_loop(120, 3, (0, 1))
    tube = 0.4 * circle_loop(40, 3, (0, 2), (2.5, 0, 0))
    degrees = np.stack([c.winding(around), c.winding(tube)])
    assert abs(round(np.linalg.det(degrees))) == 1
    np.testing.assert_array_equal(np.sort(np.abs(degrees), axis=None), [0, 0, 1, 1])
    first = int(np.abs(degrees[0]).argmax())
    assert alignment(c.values[:, first], angle(x, 0, 1)) > 0.98
    assert c.gram[1 - first, 1 - first] == pytest.approx(1 / 0.4**2, rel=0.15)


def test_trefoil(cloud):
    x = cloud("trefoil", 2000, 0)
    c = circular_coordinates(x)
    assert c.values.shape[1] == 1
    order = np.argsort(c.values[:, 0])  # the coordinate puts the knot in order
    assert abs(c.winding(x[order][::5])) == [1]
    step = np.linalg.norm(np.diff(x[order], axis=0), axis=1)
    assert np.median(step) < 0.005 * np.ptp(x)


@pytest.mark.slow
def test_many_classes(cloud):
    t = TURN * np.random.default_rng(0).random(3000)
    six = np.stack([np.cos(t) + 5 * (np.arange(3000) % 6), np.sin(t)], axis=1)
    assert circular_coordinates(six).values.shape[1] == 6
    hopf = circular_coordinates(cloud("hopf", 1500, 0))
    assert hopf.values.shape[1] == 2
    assert abs(hopf.gram[0, 1]) < 1e-6 * hopf.gram[0, 0]  # one angle for each circle
    assert circular_coordinates(cloud("genus 2", 5000, 0)).values.shape[1] == 4


@pytest.mark.parametrize("seed", range(3))
def test_klein_bottle_has_one_integral_class(cloud, seed):
    c = circular_coordinates(cloud("klein", 2000, seed), seed=seed)
    assert c.values.shape[1] == 1
    assert "1 more over Z/2: torsion" in c.reason
    # the loop u = 0, v in [0, 2 pi) is of order two: no angle runs round it
    v = TURN * np.arange(60) / 60
    fibre = np.stack([1 + 0.5 * np.cos(v), 0 * v, 0.5 * np.sin(v), 0 * v], axis=1)
    assert c.winding(fibre) == [0]
    u = TURN * np.arange(150) / 150
    base = np.stack([1.5 * np.cos(u), 1.5 * np.sin(u), 0 * u, 0 * u], axis=1)
    assert abs(c.winding(base)) == [1]


@pytest.mark.parametrize(("name", "n"), [("rp2", 1500), ("so3", 4000)])
def test_torsion_carries_no_angle(cloud, name, n):
    c = circular_coordinates(cloud(name, n, 0))
    assert c.values.shape == (n, 0)
    assert "1 more over Z/2: torsion" in c.reason


@pytest.mark.parametrize("name", ["sphere", "disc", "ball"])
def test_no_class_no_angle(cloud, name):
    x = cloud(name, 1500, 0)
    c = circular_coordinates(x)
    assert c.values.shape == (1500, 0)
    assert "torsion" not in c.reason
    assert "no class of degree 1 over Z/47" in c.reason
    assert c.evaluate(x[:5]).shape == (5, 0)
    assert c.winding(x[:1]).shape == (0,)
    with pytest.raises(ValueError, match="no class"):
        c.arcs(4)


def test_fifty_dimensions(cloud):
    """A rotation into R^50, with noise outside the plane: angles as in the plane."""
    rng = np.random.default_rng(0)
    flat = cloud("circle", 800, 1)
    Q = np.linalg.qr(rng.standard_normal((50, 50)))[0][:2]
    shift = rng.standard_normal(50)
    x = flat @ Q + shift
    for noise in (0.0, 0.02):
        c = circular_coordinates(x + noise * rng.standard_normal(x.shape))
        assert alignment(c.values[:, 0], angle(flat, 0, 1)) > 0.98
        loop = circle_loop(60, 2, (0, 1))
        assert abs(c.winding(loop @ Q + shift)) == [1]
        new = c.evaluate(loop @ Q + shift)[:, 0]
        assert alignment(new, angle(loop, 0, 1)) > 0.98


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_scale(flat, factor):
    x, c = flat
    scaled = circular_coordinates(factor * x, seed=0)
    np.testing.assert_allclose(np.exp(1j * scaled.values), np.exp(1j * c.values), atol=1e-6)
    assert scaled.scale == pytest.approx(factor * c.scale)
    np.testing.assert_allclose(scaled.gram * factor**2, c.gram, atol=1e-6)
    assert alignment(scaled.evaluate(factor * x)[:, 0], c.values[:, 0]) > 1 - 1e-9


def test_new_points(flat, cloud):
    x, c = flat
    np.testing.assert_array_equal(c.evaluate(x), c.values)
    new = cloud("flat torus", 500, 99)
    degrees = np.stack([c.winding(loop) for loop in flat_loops()])
    for a, b in enumerate(np.abs(degrees).argmax(axis=0)):
        assert alignment(c.evaluate(new)[:, a], angle(new, 2 * b, 2 * b + 1)) > 0.98
    with pytest.raises(InvalidPoints, match=r"within .* of a landmark, got 1 of 2 farther"):
        c.evaluate(np.stack([x[0], 3 * x[0]]))
    with pytest.raises(InvalidPoints, match=r"R\^4"):
        c.evaluate(x[:, :3])


def test_continuity(flat):
    """Along a fine line the angle moves in steps as fine: no jump between balls."""
    _, c = flat
    t = np.linspace(0, TURN, 20_001)[:-1]
    line = np.stack([np.cos(t), np.sin(t), np.cos(3 * t), np.sin(3 * t)], axis=1)
    theta = c.evaluate(line)
    step = np.angle(np.exp(1j * (np.roll(theta, -1, axis=0) - theta)))
    assert np.abs(step).max() < 20 * TURN / 20_000
    np.testing.assert_allclose(step.sum(axis=0) / TURN, c.winding(line[::100]), atol=1e-9)


def test_winding_sees_a_torn_circle(ring):
    """A decoder that runs along the circle and back has degree 0, one that jumps is refused."""
    _, c = ring
    loop = circle_loop(60, 2, (0, 1))
    there_and_back = np.concatenate([loop[:55], loop[:55][::-1]])
    assert c.winding(there_and_back) == [0]
    assert c.winding(loop[:1]) == [0]
    with pytest.raises(InvalidPoints, match=r"got one of length 1.* after row 35; give the loop"):
        c.winding(loop[:36])
    with pytest.raises(InvalidPoints, match="of a landmark"):
        c.winding(0.1 * loop)


def test_homotopic_loops_have_one_degree(flat):
    _, c = flat
    first, _ = flat_loops()
    rng = np.random.default_rng(0)
    for _ in range(10):
        moved = first + rng.uniform(-0.1, 0.1, first.shape)
        np.testing.assert_array_equal(c.winding(moved), c.winding(first))


@pytest.mark.parametrize("n", [3, 4, 7])
def test_arcs_are_a_good_cover_of_the_circle(ring, n):
    _, c = ring
    arcs = c.arcs(n)
    assert arcs.shape == (600, n)
    assert set(arcs.sum(axis=1)) == {1, 2}
    meet = arcs.T.astype(int) @ arcs.astype(int) > 0
    for i in range(n):
        for j in range(n):
            assert meet[i, j] == ((i - j) % n in (0, 1, n - 1))
    assert c.arcs(n, overlap=0.9).sum() > arcs.sum()


@pytest.mark.slow
def test_determinism_and_seed(flat):
    x, c = flat
    again = circular_coordinates(torch.from_numpy(x), seed=0)
    np.testing.assert_array_equal(again.values, c.values)
    other = circular_coordinates(x, seed=1)
    degrees = [np.stack([k.winding(loop) for loop in flat_loops()]) for k in (c, other)]
    assert not np.array_equal(other.values, c.values)
    np.testing.assert_array_equal(
        np.sort(np.abs(degrees[0]), axis=None), np.sort(np.abs(degrees[1]), axis=None)
    )


def test_duplicates_float32_and_primes(ring):
    x, c = ring
    doubled = circular_coordinates(np.concatenate([x, x[:100]]).astype(np.float32))
    assert doubled.values.shape == (700, 1)
    np.testing.assert_array_equal(doubled.values[600:], doubled.values[:100])
    for prime in (5, 32749):
        other = circular_coordinates(x, prime=prime, seed=0)
        assert alignment(other.values[:, 0], c.values[:, 0]) > 1 - 1e-9


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"prime": 3}, "prime from 5"),
        ({"prime": 9}, "prime from 5"),
        ({"alpha": 0.0}, "0 < alpha < 1"),
        ({"count": 2}, "count of 3 to 600"),
        ({"count": 601}, "count of 3 to 600"),
    ],
)
def test_arguments(ring, arguments, match):
    with pytest.raises(ValueError, match=match):
        circular_coordinates(ring[0], **arguments)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"n": 2}, "n >= 3"),
        ({"n": 4, "coordinate": 1}, "coordinate below 1"),
        ({"n": 4, "overlap": 1.0}, "0 < overlap < 1"),
    ],
)
def test_arc_arguments(ring, arguments, match):
    with pytest.raises(ValueError, match=match):
        ring[1].arcs(**arguments)


def test_bad_points():
    with pytest.raises(InvalidPoints, match="10 distinct"):
        circular_coordinates(np.zeros((50, 2)))
    with pytest.raises(InvalidPoints, match="NaN"):
        circular_coordinates(np.full((50, 2), np.nan))


def test_few_points_are_no_reason_to_fail():
    """Any count from 3 landmarks on gives an answer, if only k = 0."""
    x = np.random.default_rng(0).standard_normal((12, 3))
    assert circular_coordinates(x).values.shape == (12, 0)
    assert circular_coordinates(x, count=12).values.shape[0] == 12
    line = np.linspace(0, 1, 40)[:, None]
    assert circular_coordinates(line).values.shape == (40, 0)


def test_classes_that_share_no_scale_are_left_out():
    nothing = np.zeros((3, 3), dtype=np.int64)
    strong, weak, late = (
        PersistentClass(b, d, nothing) for b, d in ((0.1, 1.0), (0.05, 0.2), (0.3, 0.9))
    )
    alive, scale = circle_maps._at_one_scale([strong, weak, late], 0.12, 2.0)
    assert alive == [strong, late]
    assert scale == pytest.approx((0.3 * 0.9) ** 0.5)


def test_a_refused_lift_is_said(ring, monkeypatch):
    monkeypatch.setattr(circle_maps, "integral_basis", lambda *_: None)
    c = circular_coordinates(ring[0], seed=0)
    assert c.values.shape == (600, 0)
    assert "do not lift to the integers" in c.reason
