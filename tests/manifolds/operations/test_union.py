"""Unions, copies and products of sets, and distributions on them, against known answers.

Statistical tests compare at 4 standard errors (false alarms below 1e-4 each; seeds are fixed).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import topogen as tg
from tests.catalogue import MANIFOLDS, OPERATIONS
from topogen.distributions.mixture import Mixture
from topogen.distributions.pushforward import Pushforward
from topogen.distributions.uniform import Uniform
from topogen.distributions.von_mises import VonMises
from topogen.errors import MeasureError, NotFittedError, UnsupportedError
from topogen.homology import Homology
from topogen.manifolds.base import Manifold
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import (
    Intersection,
    Restriction,
    Similarity,
    Union,
    mayer_vietoris,
)
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import Circle, Interval, Sphere, Torus
from topogen.testing import check_manifold


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def crossing(make: Any) -> Union:
    return Union(*make.two_spheres())


@pytest.fixture(
    scope="module",
    params=[tg.LocalPolynomials, pytest.param(tg.NeuralImplicit, marks=pytest.mark.slow)],
)
def learned(request: pytest.FixtureRequest) -> tuple[Manifold, Manifold]:
    """Two spheres of radius 1 around -0.5 and 0.5 on the first axis, learned."""
    sets = []
    for seed, shift in ((0, 0.5), (1, -0.5)):
        x = Sphere().sample_uniform(1200, seeded(seed))
        x[:, 0] += shift
        M = request.param(2, 3)
        assert tg.fit(M, x).converged
        sets.append(M)
    return sets[0], sets[1]


# -- two spheres ----------------------------------------------------------------------------------


def test_two_spheres_united(crossing: Union) -> None:
    M = crossing
    assert M.volume == pytest.approx(8 * math.pi, rel=1e-12)
    assert M.volume_error == 0.0
    # b_1 = 0: every circle of either sphere bounds; two discs of either sphere close to 3 spheres
    assert M.homology == Homology((1, 0, 3))
    assert M.homology.euler_characteristic == 2 + 2 - 0
    assert (M.closed, M.orientable) == (False, None)  # no manifold at the circle
    n = 40_000
    x = M.sample_uniform(n, seeded(1))
    assert bool(M.contains(x).all())
    share = (x[:, 0] > 0).double().mean(), (M.part(x) == 0).double().mean()
    for value in share:
        assert abs(float(value) - 0.5) < 4 * 0.5 / math.sqrt(n)
    # the first coordinate of each sphere is uniform (Archimedes)
    for k, centre in enumerate((0.5, -0.5)):
        u = ((x[M.part(x) == k, 0] - centre + 1) / 2).sort().values
        steps = torch.arange(1, u.numel() + 1) / u.numel()
        assert float((u - steps).abs().max()) < 1.95 / math.sqrt(u.numel())  # alpha = 0.001


def test_the_uniform_distribution_of_a_union(crossing: Union) -> None:
    q = Uniform(crossing, validate_args=False)
    x = torch.tensor([[1.5, 0.0, 0.0], [-0.5, 0.0, 1.0], [3.0, 0.0, 0.0]], dtype=torch.float64)
    expected = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64) / (8 * math.pi)
    torch.testing.assert_close(q.log_prob(x).exp(), expected)


def test_a_union_has_no_tangent_space_where_its_parts_cross(crossing: Union) -> None:
    M = crossing
    x = torch.tensor([[0.0, 0.0, math.sqrt(0.75)], [1.5, 0.0, 0.0]], dtype=torch.float64)
    for basis in (M.tangent_basis(x), M.normal_basis(x)):
        assert bool(basis[0].isnan().all())
        assert bool(basis[1].isfinite().all())
    assert float(M.residual(x).max()) < 1e-15
    assert M.members(x).tolist() == [[True, True], [True, False]]
    torch.testing.assert_close(
        M.normal_basis(x)[1, :, 0].abs(), torch.tensor([1.0, 0.0, 0.0]).to(x)
    )
    E, J = M.linearize(x)
    torch.testing.assert_close(E, torch.zeros_like(E), atol=1e-15, rtol=0)
    assert float(J.norm(dim=-1).min()) > 0.5


def test_a_product_of_equations_refuses_newton_on_the_crossing(make: Any, crossing: Union) -> None:
    F, G = make.sphere_equation([0.5, 0.0, 0.0]), make.sphere_equation([-0.5, 0.0, 0.0])
    product = ImplicitManifold(lambda x: F(x) * G(x), 2, 3)
    circle = math.sqrt(0.75)
    t = torch.linspace(0, 6, 50, dtype=torch.float64)
    x = torch.stack([0 * t, circle * t.cos(), circle * t.sin()], -1)
    J = product.linearize(x)[1]
    assert float(J.abs().max()) < 1e-15  # as published: no direction is left
    near = 1.01 * x  # as far from one sphere as from the other
    p, q = product.project(near), crossing.project(near)
    assert bool(q.converged.all())
    assert int(q.steps.max()) <= 1
    # Newton is no faster than bisection where DF is lost
    assert int(p.steps.min()) > 20
    # next to the crossing the equation has lost its unit, the parts have not
    next_to = x + 1e-6 * torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    size = lambda M: torch.linalg.svdvals(M.linearize(next_to)[1])[..., 0]
    assert float(size(product).max()) < 1e-4
    assert float(size(crossing).min()) > 0.9


# -- unions ---------------------------------------------------------------------------------------


def test_overlapping_arcs_count_once() -> None:
    one = Restriction(Circle(), lambda x: -x[..., 1], volume=math.pi)
    other = Restriction(Circle(), lambda x: x[..., 1] - x[..., 0], volume=math.pi)
    M = Union(one, other)
    assert M.contacts[0, 1].kind == "overlapping"
    assert M.contacts[0, 1].shares == pytest.approx((0.25, 0.25), abs=0.03)
    truth = 1.75 * math.pi
    assert abs(M.volume - truth) < M.volume_error < 0.03
    assert M.homology is None
    n = 20_000
    x = M.sample_uniform(n, seeded())
    angle = (torch.atan2(x[:, 1], x[:, 0]) + 0.75 * math.pi) % (2 * math.pi)  # from 0 to 1.75 pi
    u = (angle / truth).sort().values
    assert float((u - torch.arange(1, n + 1) / n).abs().max()) < 1.95 / math.sqrt(n)
    # negative control: without 1/m the common quarter comes twice
    both = torch.cat([one.sample_uniform(n, seeded()), other.sample_uniform(n, seeded(1))])
    share = lambda y: float(M.members(y).all(-1).double().mean())
    assert share(x) == pytest.approx(1 / 7, abs=4 * 0.35 / math.sqrt(n))
    assert share(both) > 0.23


def test_identical_parts_count_once(make: Any) -> None:
    M = Union(Sphere(), Sphere())
    assert M.volume == pytest.approx(4 * math.pi, rel=1e-12)
    assert M.homology == Homology((1, 0, 1))
    assert M.closed
    x = M.sample_uniform(50, seeded())
    assert bool(M.tangent_basis(x).isfinite().all())  # two parts, one tangent space
    half = Union(Restriction(Sphere(), make.upper, volume=1.6 * math.pi), Sphere())
    half.parts[0].homology = Homology((1,))
    assert half.homology == Homology((1, 0, 1))
    assert abs(half.volume - 4 * math.pi) <= half.volume_error


def test_contacts_and_homology_of_circles(make: Any) -> None:
    circle = lambda s, r=1.0: Similarity(Circle(r), [s, 0.0])
    two = Union(circle(0.0), circle(1.0))
    assert two.homology == Homology((1, 3))  # two points shared
    assert two.contacts[0, 1].crossing.homology == Homology((2,))
    apart = Union(circle(0.0), circle(2.5))
    assert apart.homology == Homology((2, 2))
    assert apart.closed
    assert apart.orientable
    assert apart.contacts[0, 1].gap == pytest.approx(0.5, abs=1e-3)
    assert Union(circle(0.0), circle(2.0)).homology is None  # they touch: not told
    three = Union(circle(0.0), circle(1.0), circle(0.0, 5.0))
    assert three.homology == Homology((2, 4))
    assert three.volume == pytest.approx(14 * math.pi)
    assert Union(circle(0.0), circle(1.0), circle(0.5)).homology is None
    line = make.implicit_plane([1.0, 0.0], 0.3)
    line.homology = Homology((1,))
    theta = Union(circle(0.0), line)
    assert theta.homology == Homology((1, 2))
    assert theta.volume is None
    given = Union(circle(0.0), circle(2.0), homology=Homology((1, 2)))
    assert given.homology == Homology((1, 2))


def test_curves_in_space_that_pass_each_other() -> None:
    knot = tg.TorusKnot()
    M = Union(knot, Similarity(knot, [0.0, 0.0, 3.0]))
    assert M.homology == Homology((2, 2))
    assert M.volume == pytest.approx(2 * knot.volume)


def test_mayer_vietoris() -> None:
    sphere, torus, circle, none = (Homology(b) for b in ((1, 0, 1), (1, 2, 1), (1, 1), (0,)))
    assert mayer_vietoris(sphere, sphere, circle) == Homology((1, 0, 3))
    assert mayer_vietoris(sphere, torus, none) == sphere.disjoint_union(torus)
    assert mayer_vietoris(circle, circle, Homology((2,))) == Homology((1, 3))
    assert mayer_vietoris(sphere, torus, Homology((1,))) == Homology((1, 2, 2))  # at a point
    # a circle on a torus may bound, or not
    assert mayer_vietoris(sphere, torus, circle) is None
    # two circles, two components of A: which lies on which?
    two = circle.disjoint_union(circle)
    assert mayer_vietoris(two, circle, Homology((2,))) is None
    plane = Homology({2: (1, 1, 1), 3: (1, 0, 0)})
    # over Z/3 the circle is no class of the projective plane
    assert mayer_vietoris(plane, plane, circle) == Homology({3: (1, 0, 1)})


def test_mixed_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="keep its parts in a list"):
        Union(tg.TorusKnot(), Sphere())


def test_unfitted_parts_are_refused_when_used() -> None:
    M = Union(tg.LocalPolynomials(2, 3), Sphere())  # can be made before the fit
    with pytest.raises(NotFittedError):
        M.project(torch.zeros(2, 3))
    with pytest.raises(NotFittedError):
        Intersection(tg.LocalPolynomials(2, 3), Sphere())


# -- learned parts --------------------------------------------------------------------------------


@pytest.mark.slow
def test_learned_spheres(make: Any, learned: tuple[Manifold, Manifold]) -> None:
    A, B = learned
    C = Intersection(A, B)
    assert C.homology == Homology((1, 1))
    assert C.volume == pytest.approx(5.44140, abs=0.01)
    assert C.transversality == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert float(C.found[:, 0].abs().max()) < 5e-3
    measured = check_manifold(C, C.found[:16])
    assert measured["idempotent"] < 1e-10
    M = Union(A, B)
    assert M.homology is None  # those of the parts are not known
    assert M.volume is None
    assert M.contacts[0, 1].kind == "crossing"
    check_manifold(M, torch.tensor([[1.5, 0.0, 0.0]]).double() + 0.1 * torch.rand(40, 3).double())
    with pytest.raises(UnsupportedError, match="known volumes"):
        M.sample_uniform(3)
    cap = Restriction(A, make.upper)
    x = Sphere().sample_uniform(200, seeded()) + torch.tensor([0.5, 0.0, 0.0])
    assert torch.equal(cap.project(x).converged, A.project(x).value[:, 2] >= 0.2)


@pytest.mark.slow
def test_products_with_learned_factors(make: Any) -> None:
    t = torch.linspace(0, 2 * math.pi, 400, dtype=torch.float64)[:-1]
    circle = tg.LocalPolynomials(1, 2)
    tg.fit(circle, torch.stack([t.cos(), t.sin()], -1))
    M = Product(circle, Interval(0.0, 1.0))
    assert (M.dim, M.ambient_dim, M.homology, M.volume) == (2, 3, None, None)
    x = torch.stack([t.cos(), t.sin(), 0.5 + 0 * t], -1)[::20]
    check_manifold(M, x)
    circle.homology, circle.volume, circle.volume_error = Homology((1, 1)), 2 * math.pi, 1e-3
    assert M.homology == Homology((1, 1))
    assert M.volume == pytest.approx(2 * math.pi)
    assert M.volume_error == pytest.approx(1e-3)
    with pytest.raises(UnsupportedError, match="area-uniform sampler"):
        M.sample_uniform(3)
    area = M.atlas().volume(per_axis=24)
    assert float(area) == pytest.approx(2 * math.pi, rel=3e-3)
    both = Product(make.implicit_sphere([0.0, 0.0]), Circle())
    assert (both.dim, both.closed, both.homology) == (2, True, Homology((1, 2, 1)))
    assert both.defining is not None
    check_manifold(both)
    with pytest.raises(UnsupportedError, match="nor points enough to put them on"):
        both.atlas()


# -- copies and distributions ---------------------------------------------------------------------


def test_copies() -> None:
    R = torch.linalg.qr(torch.randn(3, 3, generator=seeded(), dtype=torch.float64))[0]
    M = Similarity(Torus(), [1.0, 2.0, 3.0], factor=2.0, rotation=R)
    assert check_manifold(M)["residual"] < 1e-3
    assert M.volume == pytest.approx(4 * Torus().volume)
    assert M.homology == Torus().homology
    x = M.sample_uniform(200, seeded())
    normal = M.linearize(x)[1]
    assert float((normal @ M.tangent_basis(x)).abs().max()) < 1e-9
    torch.testing.assert_close(M.nearest(x + 0.01).value, M.project(x + 0.01).value)
    y = tg.load(_saved(M))
    torch.testing.assert_close(y.project(x + 0.1).value, M.project(x + 0.1).value)
    for bad in ([1.0, 2.0], [1.0, math.nan, 0.0]):
        with pytest.raises(ValueError, match="shift of 3 finite"):
            Similarity(Torus(), bad)
    with pytest.raises(ValueError, match="factor > 0"):
        Similarity(Torus(), [0.0] * 3, factor=0.0)
    with pytest.raises(ValueError, match="orthonormal"):
        Similarity(Torus(), [0.0] * 3, rotation=2 * R)


def test_a_copy_in_more_dimensions() -> None:
    R = torch.linalg.qr(torch.randn(6, 3, generator=seeded(), dtype=torch.float64))[0]
    M = Similarity(Torus(), torch.arange(6.0), factor=2.0, rotation=R)
    assert (M.ambient_dim, M.dim) == (6, 2)
    assert check_manifold(M)["residual"] < 1e-3
    x = M.sample_uniform(50, seeded())
    beside = torch.linalg.qr(torch.cat([R, torch.eye(6, dtype=R.dtype)], 1))[0][:, 3:6].sum(-1)
    off = M.residual(x + 0.1 * beside)
    torch.testing.assert_close(off, torch.full_like(off, 0.1 * 3**0.5))
    assert not bool(M.contains(x + 0.1 * beside, 0.1).any())
    torch.testing.assert_close(M.nearest(x + 0.1 * beside).value, x)
    E, J = M.linearize(x)
    assert float(E.abs().max()) < 1e-6
    assert float((J @ M.tangent_basis(x)).abs().max()) < 1e-9
    assert bool((torch.linalg.matrix_rank(J, tol=1e-6) == 4).all())


def _saved(M: Manifold) -> str:
    import tempfile

    path = f"{tempfile.mkdtemp()}/m.safetensors"
    tg.save(M, path)
    return path


def test_two_circles_with_von_mises_distributions() -> None:
    """The published example: circles around -1.8 and 1.8, mass half and half."""
    distribution = VonMises(0.0, 2.0)
    parts = [Similarity(distribution.manifold, [s, 0.0]) for s in (1.8, -1.8)]
    M = Union(*parts)
    assert M.homology == Homology((2, 2))
    q = Mixture(
        [0.5, 0.5], [Pushforward(distribution, p) for p in parts], manifold=M, validate_args=False
    )
    assert q.likelihood == "exact"
    x = q.sample((20_000,), seeded())
    assert abs(float((x[:, 0] > 0).double().mean()) - 0.5) < 0.015
    t = torch.arange(500, dtype=torch.float64) * (2 * math.pi / 500)
    grid = torch.cat([torch.stack([s + t.cos(), t.sin()], -1) for s in (1.8, -1.8)])
    mass = q.log_prob(grid).exp().sum() * 2 * math.pi / 500
    assert float(mass) == pytest.approx(1, abs=1e-12)
    entropy = -float(q.log_prob(x).mean())
    assert entropy == pytest.approx(1.26632 + math.log(2), abs=0.03)


def test_mixtures_on_crossing_parts(crossing: Union) -> None:
    A, B = crossing.listed()
    q = Mixture([1.0, 3.0], [Uniform(A), Uniform(B)], manifold=crossing, validate_args=False)
    x = torch.tensor([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        q.log_prob(x).exp() * 4 * math.pi, torch.tensor([0.25, 0.75], dtype=torch.float64)
    )
    # total mass, by importance sampling with the uniform distribution of the union
    y = crossing.sample_uniform(4000, seeded())
    weight = q.log_prob(y).exp() * crossing.volume
    assert abs(float(weight.mean()) - 1) < 4 * 0.5 / math.sqrt(4000)
    # where parts share a piece of full dimension, both distributions count
    arcs = Union(Circle(), Restriction(Circle(), lambda x: -x[..., 1], volume=math.pi))
    r = Mixture([0.5, 0.5], [Uniform(p) for p in arcs.listed()], manifold=arcs)
    top_and_bottom = torch.tensor([[0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(
        r.log_prob(top_and_bottom).exp() * 2 * math.pi,
        torch.tensor([1.5, 0.5], dtype=torch.float64),
    )


def test_mixtures_off_the_parts_are_refused(crossing: Union) -> None:
    with pytest.raises(MeasureError, match="Union"):
        Mixture([1.0, 1.0], [Uniform(M) for M in crossing.listed()])
    with pytest.raises(MeasureError, match="parts of the union"):
        Mixture([1.0], [Uniform(Sphere())], manifold=crossing)
    with pytest.raises(MeasureError, match="expected a copy of"):
        Pushforward(VonMises(0.0, 1.0), Similarity(Circle(2.0), [1.0, 0.0]))


# -- bad points -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPERATIONS)
def test_bad_points(name: str) -> None:
    M = MANIFOLDS[name]
    D = M.ambient_dim
    for x in (torch.zeros(3, D + 1), torch.zeros(3, D, dtype=torch.int64)):
        # with type checks on, as here, integers do not get as far as the message
        with pytest.raises((ValueError, TypeError), match=r"expected floating-point|check"):
            M.project(x)
    p = M.project(torch.full((2, D), math.inf))
    assert not bool(p.converged.any())
    assert M.project(torch.zeros(0, D)).value.shape == (0, D)


@pytest.mark.slow
def test_a_walk_on_a_union_crosses_over(make: Any) -> None:
    """Chains that all start on one sphere spread over both, with the uniform distribution."""
    from topogen.sampling import Plan, random_walk

    M = Union(*make.two_spheres())
    start = M.listed()[0].sample_uniform(200, seeded())
    plan = Plan(chains=200, step=0.5, start=start)
    result = random_walk(M, None, 400, seed=0, plan=plan)
    for g, truth in (
        (lambda x: x[..., 0], 0.0),
        (lambda x: x[..., 2] ** 2, 1 / 3),
        (lambda x: x[..., 0] ** 2, 1 / 3 + 0.25),
    ):
        mean = result.mean(g)
        assert abs(float(mean.value) - truth) < 4 * float(mean.error)
