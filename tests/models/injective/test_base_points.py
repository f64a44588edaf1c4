"""Initial base points and the arithmetic of windings: right degrees, conjugate heights, ranks."""

import itertools
import math

import numpy as np
import pytest
import torch

import topogen as tg
from topogen.errors import TrainingError
from topogen.models.injective.base_points import initial_base_points
from topogen.models.injective.bases import standard
from topogen.models.injective.harmonic_functions import conjugate
from topogen.models.injective.homology_checks import rank_mod_2, spans_lattice
from topogen.models.injective.integral_classes import strongest_classes
from topogen.models.injective.neighbor_graph import neighbour_graph


def seeded(number=0):
    return torch.Generator().manual_seed(number)


def angles(b):
    """Angles of the circles of base points, in turns."""
    pairs = b.reshape(len(b), -1, 2)
    return np.arctan2(pairs[..., 1], pairs[..., 0]) / (2 * math.pi)


def winding(b, x, loop):
    """How often each angle turns along a loop of points, by the nearest points of the cloud."""
    near = np.linalg.norm(loop[:, None] - x[None], axis=-1).argmin(1)
    a = angles(b)[near]
    step = np.roll(a, -1, axis=0) - a
    return (step - step.round()).sum(0)


@pytest.mark.parametrize("equal_area", [True, False])
@pytest.mark.parametrize("name", ["flat", "ring"])
def test_winding_of_base_points_on_tori_is_unimodular(name, equal_area):
    M = tg.FlatTorus() if name == "flat" else tg.Torus(R=2.0, r=0.7)
    x = M.sample_uniform(1500, generator=seeded()).numpy()
    graph = neighbour_graph(x, 2)
    b = initial_base_points(standard("torus"), graph, count=150, equal_area=equal_area)
    assert b.shape == (1500, 4)
    t = np.linspace(0, 2 * math.pi, 300, endpoint=False)
    c, s, one, zero = np.cos(t), np.sin(t), np.ones(300), np.zeros(300)
    if name == "flat":
        loops = [np.stack([c, s, one, zero], 1), np.stack([one, zero, c, s], 1)]
    else:
        loops = [
            np.stack([2.7 * c, 2.7 * s, zero], 1),
            np.stack([2 + 0.7 * c, zero, 0.7 * s], 1),
        ]
    W = np.stack([winding(b, x, loop) for loop in loops], 1)
    np.testing.assert_allclose(W, W.round(), atol=1e-9)
    assert abs(round(np.linalg.det(W))) == 1
    classes = strongest_classes(graph.landmarks(150), 2)
    assert classes.undefined(graph.i, graph.j) < 0.01


def test_base_points_of_a_circle_go_round_once_in_order():
    t = np.sort(np.random.default_rng(0).uniform(0, 2 * math.pi, 700))
    x = np.stack([2 * np.cos(t), np.sin(t)], 1)
    b = initial_base_points(standard("circle"), neighbour_graph(x, 1), count=100, equal_area=False)
    a = angles(b)[:, 0]
    step = np.diff(np.append(a, a[0]))
    step -= step.round()
    assert abs(step.sum()) == pytest.approx(1)
    assert (np.sign(step) == np.sign(step.sum())).mean() > 0.95


def test_base_points_of_the_sphere_have_degree_one():
    x = tg.Sphere().sample_uniform(1200, generator=seeded()).numpy()
    b = initial_base_points(standard("sphere"), neighbour_graph(x, 2), count=150)
    # a discrete conformal map of the round sphere is close to a rotation or a reflection
    A = np.linalg.lstsq(x, b, rcond=None)[0]
    np.testing.assert_allclose(A @ A.T, np.eye(3), atol=0.15)


@pytest.mark.parametrize(("name", "width"), [("klein", 4), ("projective", 3), ("mobius", 3)])
def test_base_points_of_quotients_are_points_of_the_cover(name, width):
    M = {
        "klein": tg.KleinBottle(),
        "projective": tg.ProjectivePlane(),
        "mobius": tg.MobiusBand(),
    }[name]
    x = M.sample_uniform(2500, generator=seeded()).numpy()
    B = standard(name)
    graph = neighbour_graph(x, 2)
    b = torch.from_numpy(initial_base_points(B, graph, count=150))
    assert b.shape == (2500, width)
    torch.testing.assert_close(B.retract(b), b, atol=1e-9, rtol=0)
    # neighbours in the data are near on the quotient
    d = B.distance(b[graph.i], b[graph.j])
    assert float(d.quantile(0.99)) < 0.8


def annulus(n):
    """Log-radius h and angle of points of an annulus, uniform in area."""
    rng = np.random.default_rng(1)
    r, t = np.sqrt(rng.uniform(0.5**2, 1.5**2, n)), rng.uniform(0, 2 * math.pi, n)
    return np.stack([r * np.cos(t), r * np.sin(t), 0 * t], 1), t, np.log(r)


def cylinder(n):
    rng = np.random.default_rng(2)
    t, h = rng.uniform(0, 2 * math.pi, n), rng.uniform(-1, 1, n)
    return np.stack([np.cos(t), np.sin(t), h], 1), t, h


@pytest.mark.parametrize("make", [annulus, cylinder])
def test_conjugate_of_the_angle_is_the_height(make):
    x, t, h = make(2000)
    cover = neighbour_graph(x, 2)
    cover = cover.cover(cover.sign)
    found = conjugate(cover, np.tile(t, 2))
    # opposite on the two sheets
    sheet = cover.one_sheet()
    other = cover.sigma[sheet]
    assert abs(np.corrcoef(found[sheet], h)[0, 1]) > 0.999
    assert np.corrcoef(found[sheet], found[other])[0, 1] < -0.999


def test_base_points_need_a_recipe_and_connected_data(lens_space):
    x = tg.Sphere(3).sample_uniform(400, generator=seeded()).numpy()
    with pytest.raises(TrainingError, match="at most 2 sheets"):
        initial_base_points(lens_space, neighbour_graph(x, 3), count=50)
    two = np.concatenate([x[:200], x[200:] + 50.0])
    with pytest.raises(TrainingError, match="200 of 400 apart"):
        neighbour_graph(two, 3).landmarks(20)


@pytest.fixture
def lens_space():
    from topogen.models.injective.bases import Base
    from topogen.models.injective.bases.harmonic_factors import UnitSphere

    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).double()
    once = torch.block_diag(quarter, quarter)
    group = torch.stack([torch.linalg.matrix_power(once, k) for k in range(4)])
    return Base([UnitSphere(3)], group, name="L(4, 1)", homology=standard("sphere", 3).homology)


def test_rank_mod_2_against_brute_force():
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, columns = rng.integers(1, 5, 2)
        W = rng.integers(-3, 4, (rows, columns))
        spanned = {tuple(np.array(c) @ W % 2) for c in itertools.product((0, 1), repeat=rows)}
        assert 2 ** rank_mod_2(W) == len(spanned)


def test_spans_against_brute_force():
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(150):
        columns = int(rng.integers(1, 4))
        W = rng.integers(-2, 3, (2, columns))
        # W spans Z^2 if and only if it is onto modulo every prime; minors are at most 8
        onto = all(
            len({tuple(W @ np.array(c) % p) for c in itertools.product(range(p), repeat=columns)})
            == p**2
            for p in (2, 3, 5, 7)
        )
        assert spans_lattice(W) == onto, W
        seen.add(onto)
    assert seen == {True, False}
