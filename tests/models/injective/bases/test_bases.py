"""Bases: quotient distances, free isometric groups, loops, names, homology."""

import itertools
import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.homology import Homology
from topogen.models.injective.bases import Base, base_of, product, standard
from topogen.models.injective.bases.harmonic_factors import RealLine, UnitInterval, UnitSphere


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


QUOTIENTS = {
    "klein": lambda: standard("klein"),
    "mobius": lambda: standard("mobius"),
    "projective plane": lambda: standard("projective", 2),
    "rotations": lambda: standard("projective", 3),
    "lens space": None,
    "klein x circle": lambda: product(standard("klein"), standard("circle")),
}
SPACES = {
    "circle": lambda: standard("circle"),
    "torus": lambda: standard("torus"),
    "sphere": lambda: standard("sphere"),
    "3-sphere": lambda: standard("sphere", 3),
    "interval": lambda: standard("interval", 1),
    "cylinder": lambda: standard("cylinder"),
    "plane": lambda: standard("euclidean"),
    "sphere x circle": lambda: product(standard("sphere"), standard("circle")),
    **QUOTIENTS,
}
every = pytest.mark.parametrize("base", SPACES, indirect=True)
every_quotient = pytest.mark.parametrize("base", QUOTIENTS, indirect=True)


@pytest.fixture
def base(request, lens_space):
    make = SPACES[request.param]
    return lens_space if make is None else make()


@every
def test_move_undoes_log_and_log_undoes_short_moves(base):
    B = base
    b, c = B.sample(200, generator=seeded(0)), B.sample(200, generator=seeded(1))
    torch.testing.assert_close(B.move(b, B.log(b, c)), c, atol=1e-12, rtol=0)
    E = B.frame(b)
    eye = torch.eye(B.dim, dtype=torch.float64).expand(200, -1, -1)
    torch.testing.assert_close(E.mT @ E, eye, atol=1e-12, rtol=0)
    v = (E @ (0.2 * normal(200, B.dim, 1))).squeeze(-1)
    inside = B.move(b, v, ends=False)
    torch.testing.assert_close(B.log(b, inside), v, atol=1e-12, rtol=0)
    # E spans the tangent space: moves stay on the cover
    torch.testing.assert_close(B.retract(B.move(b, v)), B.move(b, v), atol=1e-12, rtol=0)


@every
def test_distance_is_the_metric_of_the_quotient(base):
    B = base
    b, c, e = (B.sample(100, generator=seeded(s)) for s in range(3))
    d = B.distance(b, c)
    torch.testing.assert_close(B.distance(c, b), d, atol=1e-7, rtol=0)
    assert float(B.distance(b, b).max()) < 1e-7
    assert bool((d <= B.distance(b, e) + B.distance(e, c) + 1e-9).all())
    assert bool((d <= B.log(b, c).norm(dim=-1) + 1e-12).all())
    for image in B.orbit(c):
        torch.testing.assert_close(B.distance(b, image), d, atol=1e-7, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_antipodes_are_half_a_great_circle_apart(n):
    B = standard("sphere", n)
    b = torch.cat([B.sample(50, generator=seeded()), torch.eye(n + 1, dtype=torch.float64)])
    torch.testing.assert_close(B.distance(b, -b), torch.full((51 + n,), math.pi).double())
    torch.testing.assert_close(B.move(b, B.log(b, -b)), -b, atol=1e-12, rtol=0)


@every_quotient
def test_group_is_a_free_group_of_isometries_of_the_cover(base):
    B = base
    G = B.group
    eye = torch.eye(B.width, dtype=torch.float64)
    torch.testing.assert_close(G @ G.mT, eye.expand_as(G), atol=1e-12, rtol=0)
    for a, c in itertools.product(G, G):
        assert float((a @ c - G).abs().amax((1, 2)).min()) < 1e-12
    b, c = B.sample(2000, generator=seeded(0)), B.sample(2000, generator=seeded(1))
    for image in B.orbit(b)[1:]:
        torch.testing.assert_close(B.retract(image), image, atol=1e-12, rtol=0)
        # no fixed points, and none nearly so
        assert float(B.log(b, image).norm(dim=-1).min()) > 1.0
    before = B.log(b, c).norm(dim=-1)
    for p, q in zip(B.orbit(b), B.orbit(c), strict=True):
        torch.testing.assert_close(B.log(p, q).norm(dim=-1), before, atol=1e-7, rtol=0)
    assert B.volume == pytest.approx(B.cover_volume / len(G))


@every
def test_nodes_and_samples_are_uniform_on_the_cover(base):
    B = base
    b, w = B.nodes(6)
    assert float(w.sum()) == pytest.approx(1)
    assert bool((w > 0).all())
    x = B.sample(4000, generator=seeded(5))
    # means of b and b b^T, 6 standard errors each: a false alarm in 10^7
    for f in (lambda b: b, lambda b: (b[:, :, None] * b[:, None]).flatten(1)):
        values = f(x)
        error = (values.mean(0) - w @ f(b)).abs()
        assert bool((error <= 6 * values.std(0) / math.sqrt(len(x)) + 1e-12).all())


@every
def test_loops_close_up_to_the_group(base):
    B = base
    for loop in B.loops(256):
        assert loop.shape == (256, B.width)
        torch.testing.assert_close(B.retract(loop), loop, atol=1e-12, rtol=0)
        steps = B.distance(loop, loop.roll(-1, 0))
        assert float(steps.max()) < 0.2


def test_loops_generate_h1():
    count = {"circle": 1, "torus": 2, "sphere": 0, "cylinder": 1, "klein": 3, "mobius": 2}
    for name, loops in count.items():
        assert len(standard(name).loops()) == loops, name
    # the loop of RP^2 does not close on the sphere
    (loop,) = standard("projective").loops()
    assert float((loop[-1] + loop[0]).norm()) < 0.1


HOMOLOGY = {
    "circle": (1, 1),
    "torus": (1, 2, 1),
    "sphere": (1, 0, 1),
    "interval": (1,),
    "cylinder": (1, 1),
    "mobius": (1, 1),
    "klein": {2: (1, 2, 1), 3: (1, 1)},
    "projective": {2: (1, 1, 1), 3: (1,)},
    "euclidean": (1,),
}


@pytest.mark.parametrize("name", HOMOLOGY)
def test_homology_of_the_standard_bases(name):
    B = standard(name)
    assert B.homology == Homology(HOMOLOGY[name])
    assert B.orientable == (name not in ("mobius", "klein", "projective"))
    assert B.closed == (name not in ("interval", "cylinder", "mobius", "euclidean"))
    assert f"dim={B.dim}" in repr(B)


def test_kuenneth_for_products():
    B = product(standard("klein"), standard("circle"))
    assert B.homology == Homology({2: (1, 3, 3, 1), 3: (1, 2, 1)})
    assert len(B.group) == 2
    assert not B.orientable
    assert product(standard("klein"), standard("projective")).group.shape == (4, 7, 7)
    assert B.volume == pytest.approx(4 * math.pi**3)
    assert standard("projective", 3).homology == tg.SpecialOrthogonal().homology


@pytest.mark.parametrize(
    ("manifold", "name", "dim"),
    [
        (tg.Circle(2.0), "circle", 1),
        (tg.Torus(), "torus", 2),
        (tg.FlatTorus(3), "torus", 3),
        (tg.Sphere(3), "sphere", 3),
        (tg.KleinBottle(), "klein", 2),
        (tg.MobiusBand(), "mobius", 2),
        (tg.ProjectivePlane(), "projective", 2),
        (tg.SpecialOrthogonal(), "projective", 3),
        (tg.Interval(0.0, 2.0), "interval", 1),
        (tg.Euclidean(2), "euclidean", 2),
    ],
)
def test_base_of_a_reference_space_is_a_copy_of_it(manifold, name, dim):
    B = base_of(manifold)
    assert B.parts == ((name, dim),)
    assert B.dim == manifold.dim
    assert B.closed == manifold.closed
    assert B.orientable == manifold.orientable
    assert B.homology == manifold.homology


def test_base_of_a_product():
    B = base_of(tg.Product(tg.Sphere(), tg.Circle()))
    assert B.parts == (("sphere", 2), ("circle", 1))
    assert B.factors == (UnitSphere(2), UnitSphere(1))


def test_cover_has_the_coordinates_of_the_base():
    for name in ("circle", "torus", "sphere", "klein", "projective"):
        B = standard(name)
        assert float(B.cover.residual(B.sample(20, generator=seeded())).max()) < 1e-12
        assert B.cover.volume == pytest.approx(B.cover_volume)


def test_directions_are_blocked_at_the_ends_of_intervals_only():
    B = standard("cylinder")
    b = torch.tensor([[1.0, 0, 1], [1, 0, 1], [1, 0, 0.5], [1, 0, -1]]).double()
    v = torch.tensor([[0.0, 1, 1], [0, 1, -1], [0, 1, 1], [0, 1, -1]]).double()
    expected = [[False, True], [False, False], [False, False], [False, True]]
    assert B.blocked(b, v).tolist() == expected
    assert float(B.move(b, v)[0, 2]) == 1.0
    assert float(B.move(b, v, ends=False)[0, 2]) == 2.0


def test_errors():
    with pytest.raises(ValueError, match="expected a base among"):
        standard("pretzel")
    with pytest.raises(ValueError, match="expected dim=2 for the base 'klein', got 3"):
        standard("klein", 3)
    with pytest.raises(ValueError, match="expected dim=>= 1"):
        standard("torus", 0)
    with pytest.raises(UnsupportedError, match="got Genus"):
        base_of(tg.GenusSurface(2))
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(ValueError, match="expected the homology of a quotient"):
        Base([UnitSphere(1)], torch.stack([eye, -eye]), name="half")
    with pytest.raises(ValueError, match="the unit matrix first"):
        Base([UnitSphere(1)], -eye[None], name="half")
    with pytest.raises(ValueError, match=r"shape \(m, 3, 3\)"):
        Base([UnitSphere(2)], eye[None], name="small")
    assert UnitInterval().bound(0) == (1.0, 0.0)
    assert RealLine().bound(1) == (math.inf, math.inf)
