"""Unions, intersections, restrictions, copies and products of sets, against known answers.

Statistical tests compare at 4 standard errors (false alarms below 1e-4 each; seeds are fixed).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.distributions.mixture import Mixture
from topogen.distributions.pushforward import Pushforward
from topogen.distributions.uniform import Uniform
from topogen.distributions.von_mises import VonMises, VonMisesFisher
from topogen.errors import MeasureError, NotFittedError, UnsupportedError
from topogen.homology import Homology
from topogen.manifolds.arithmetic import (
    Intersection,
    Moved,
    Restriction,
    TransversalityError,
    Union,
    mayer_vietoris,
)
from topogen.manifolds.base import Manifold
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.library import Circle, FlatTorus, Interval, Product, Sphere, Torus
from topogen.testing import check_distribution, check_manifold


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sphere_equation(centre: list[float], radius: float = 1.0) -> Callable[[Tensor], Tensor]:
    c = torch.tensor(centre, dtype=torch.float64)
    return lambda x: ((x - c.to(x)) ** 2).sum(-1, keepdim=True) - radius**2


def implicit_sphere(centre: list[float], radius: float = 1.0) -> ImplicitManifold:
    D = len(centre)
    homology = Homology((1, *[0] * (D - 2), 1))
    return ImplicitManifold(sphere_equation(centre, radius), D - 1, D, homology=homology)


def implicit_plane(normal: list[float], height: float) -> ImplicitManifold:
    n = torch.tensor(normal, dtype=torch.float64)
    n = n / n.norm()
    F = lambda x: (x @ n.to(x)).unsqueeze(-1) - height
    return ImplicitManifold(F, len(normal) - 1, len(normal), closed=False)


def two_spheres() -> tuple[Moved, Moved]:
    sphere = Sphere()
    return Moved(sphere, [0.5, 0.0, 0.0]), Moved(sphere, [-0.5, 0.0, 0.0])


def upper(x: Tensor) -> Tensor:
    return 0.2 - x[..., 2]


@pytest.fixture(scope="module")
def crossing() -> Union:
    return Union(*two_spheres())


@pytest.fixture(scope="module")
def learned() -> tuple[tg.LocalPolynomials, tg.LocalPolynomials]:
    """Two spheres of radius 1 around -0.5 and 0.5 on the first axis, learned."""
    sets = []
    for seed, shift in ((0, 0.5), (1, -0.5)):
        x = Sphere().sample_uniform(1200, seeded(seed))
        x[:, 0] += shift
        M = tg.LocalPolynomials(2, 3)
        assert tg.fit(M, x).converged
        sets.append(M)
    return sets[0], sets[1]


# -- two spheres ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False], ids=["library", "implicit"])
def test_two_spheres_meet_in_a_circle(known: bool) -> None:
    A, B = two_spheres() if known else (implicit_sphere([s, 0.0, 0.0]) for s in (0.5, -0.5))
    M = Intersection(A, B)
    assert (M.dim, M.ambient_dim, M.closed, M.orientable) == (1, 3, True, True)
    assert M.homology == Homology((1, 1))
    assert M.volume == pytest.approx(2 * math.pi * math.sqrt(0.75), abs=1e-9)
    assert abs(M.volume - 2 * math.pi * math.sqrt(0.75)) <= 2 * M.volume_error
    x = M.found
    assert x.shape[0] > 100
    assert float(x[:, 0].abs().max()) < 1e-11
    assert float((x.norm(dim=-1) - math.sqrt(0.75)).abs().max()) < 1e-11
    # the normals make an angle of 60 degrees: sqrt(1 - cos 60)
    assert M.transversality == pytest.approx(math.sqrt(0.5), abs=1e-9)
    assert float((M.sigma_min(x) - math.sqrt(0.5)).abs().max()) < 1e-9
    T = M.tangent_basis(x)[..., 0]
    torch.testing.assert_close((T * x).sum(-1), torch.zeros(x.shape[0]).to(x), atol=1e-9, rtol=0)
    # the residual is the distance, up to second order
    y = x + 1e-3 * torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    distance = torch.hypot(y[:, 0], y[:, 1:].norm(dim=-1) - math.sqrt(0.75))
    torch.testing.assert_close(M.residual(y), distance, rtol=5e-3, atol=0)
    # and quadratic convergence keeps the steps few
    assert int(M.project(y, throw=True).steps.max()) <= 4


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


def test_the_uniform_law_of_a_union(crossing: Union) -> None:
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


def test_a_product_of_equations_refuses_newton_on_the_crossing(crossing: Union) -> None:
    F, G = sphere_equation([0.5, 0.0, 0.0]), sphere_equation([-0.5, 0.0, 0.0])
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


@pytest.mark.parametrize(
    ("shift", "gap", "words"),
    [(1.0, 0.0, "tangent at"), (1.5, 1.0, "at distance 1"), (0.0, 0.0, "tangent at")],
    ids=["touching", "disjoint", "identical"],
)
def test_spheres_that_do_not_cross_are_refused(shift: float, gap: float, words: str) -> None:
    with pytest.raises(TransversalityError, match=words) as caught:
        Intersection(implicit_sphere([shift, 0.0, 0.0]), implicit_sphere([-shift, 0.0, 0.0]))
    assert caught.value.gap == pytest.approx(gap, abs=1e-3)
    if gap == 0:
        assert caught.value.sigma_min < 1e-6


def test_one_tangent_point_on_a_curve_is_found() -> None:
    # Viviani: the curve crosses itself at (1, 0, 0), where sphere and cylinder touch
    F = lambda x: ((x[..., :2] - x.new_tensor([0.5, 0.0])) ** 2).sum(-1, keepdim=True) - 0.25
    with pytest.raises(TransversalityError, match=r"tangent at \(1, "):
        Intersection(Sphere(), ImplicitManifold(F, 2, 3, closed=False))
    # negative control: half as wide, it crosses in two ovals
    G = lambda x: ((x[..., :2] - x.new_tensor([0.5, 0.0])) ** 2).sum(-1, keepdim=True) - 0.0625
    M = Intersection(Sphere(), ImplicitManifold(G, 2, 3, closed=False))
    assert M.transversality > 0.1


# -- other intersections --------------------------------------------------------------------------


def test_a_torus_and_planes() -> None:
    M = Intersection(Torus(1.0, 0.4), implicit_plane([0.0, 0.0, 1.0], 0.0))
    assert M.closed  # a plane is not, the cut is
    assert M.homology == Homology((2, 2))
    assert M.volume == pytest.approx(2 * math.pi * (1.4 + 0.6), abs=1e-6)
    assert abs(M.volume - 4 * math.pi) <= 2 * M.volume_error
    points = Intersection(
        Torus(1.0, 0.4), implicit_plane([0.0, 0.0, 1.0], 0.0), implicit_plane([1.0, 0.0, 0.0], 0.0)
    )
    assert (points.dim, points.volume, points.homology) == (0, 4.0, Homology((4,)))
    # an open end, and a curve without end
    arc = Intersection(Restriction(Sphere(), upper), implicit_plane([1.0, 0.0, 0.0], 0.0))
    line = Intersection(implicit_plane([1.0, 0.0, 0.0], 0.0), implicit_plane([0.0, 1.0, 0.0], 0.0))
    for M in (arc, line):
        assert (M.closed, M.homology, M.volume) == (False, None, None)
    torch.testing.assert_close(
        points.found[:, 1].sort().values, torch.tensor([-1.4, -0.6, 0.6, 1.4]).to(points.found)
    )


@pytest.mark.slow
def test_over_determined_parts_and_higher_codimension() -> None:
    # the Klein bottle has no regular equation; a sphere cuts it in curves
    sphere = Moved(Sphere(3, 1.2), [0.3, 0.1, 0.2, 0.0])
    M = Intersection(tg.KleinBottle(), sphere)
    assert (M.dim, M.ambient_dim) == (1, 4)
    x = M.found
    assert float(tg.KleinBottle().residual(x).max()) < 1e-10
    assert float(sphere.residual(x).max()) < 1e-10
    assert M.defining is None
    T = M.tangent_basis(x)
    assert float(((x - sphere.shift).unsqueeze(-2) @ T).abs().max()) < 1e-9


def test_too_many_equations() -> None:
    a, b = FlatTorus(2), Moved(FlatTorus(2), [0.1, 0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="at most D=4, got 2 \\+ 2 \\+ 1"):
        Intersection(a, b, Sphere(3))
    with pytest.raises(ValueError, match="in one R\\^D"):
        Intersection(Circle(), Sphere())
    with pytest.raises(ValueError, match="two sets or more"):
        Intersection(Circle())


def test_energies_add_on_an_intersection() -> None:
    """Experts on two spheres; their product on the common circle, against its closed form."""
    A, B = two_spheres()
    M = Intersection(A, B)
    p = Pushforward(VonMisesFisher([0.0, 0.0, 1.0], 3.0), A)
    q = Pushforward(VonMisesFisher([0.0, 1.0, 0.0], 2.0), B)
    t = torch.arange(400, dtype=torch.float64) * (2 * math.pi / 400)
    r = math.sqrt(0.75)
    x = torch.stack([0 * t, r * t.cos(), r * t.sin()], -1)
    energy = p.log_prob(x) + q.log_prob(x)
    assert bool(M.contains(x).all())
    density = energy.exp() / (energy.exp().mean() * M.volume)
    # von Mises: concentration r sqrt(13) towards (2, 3)
    kappa = r * (x[:, 1:] @ torch.tensor([2.0, 3.0], dtype=torch.float64)) / r
    bessel = torch.special.i0(torch.tensor(r * math.sqrt(13), dtype=torch.float64))
    expected = kappa.exp() / (2 * math.pi * r * bessel)
    torch.testing.assert_close(density, expected, rtol=1e-9, atol=0)


# -- restrictions ---------------------------------------------------------------------------------


def test_a_spherical_cap() -> None:
    M = Restriction(Sphere(), upper)
    assert (M.closed, M.orientable, M.volume, M.homology) == (False, True, None, None)
    n = 20_000
    z = M.sample_uniform(n, seeded())[:, 2]
    # x_3 ~ U(.2, 1)
    u = ((z.sort().values - 0.2) / 0.8).clamp(0, 1)
    assert float(z.min()) >= 0.2
    assert float((u - torch.arange(1, n + 1) / n).abs().max()) < 1.95 / math.sqrt(n)
    area = M.measure(100_000, seeded(1))
    assert abs(float(area.value) - 2 * math.pi * 0.8) < 4 * float(area.error)
    assert float(area.error) < 0.03


def test_points_outside_are_rejected_never_moved() -> None:
    M = Restriction(Sphere(), upper)
    x = torch.tensor([[0.0, 0.1, 0.9], [0.9, 0.1, 0.1], [math.nan, 0.0, 1.0]])
    p = M.project(x)
    assert p.converged.tolist() == [True, False, False]
    torch.testing.assert_close(p.value[:2], Sphere().project(x[:2]).value)  # not the boundary
    assert M.contains(p.value).tolist() == [True, False, False]
    assert M.guard(p.value).tolist() == [True, False, False]
    assert M.residual(x)[1:].tolist() == [math.inf, math.inf]
    # clamped to the boundary, points of a whole sphere would put a share of .6 on it
    y = M.sample_uniform(5000, seeded())
    assert float((y[:, 2] < 0.2 + 1e-9).double().mean()) == 0
    with pytest.raises(tg.errors.ProjectionError):
        M.project(x, throw=True)


def test_several_inequalities() -> None:
    octant = Restriction(Sphere(), lambda x: -x[..., :2], lambda x: -x[..., 2], volume=math.pi / 2)
    x = octant.sample_uniform(2000, seeded())
    assert bool((x >= 0).all())
    q = Uniform(octant, validate_args=False)
    inside = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]) / math.sqrt(3)
    torch.testing.assert_close(q.log_prob(inside).exp(), torch.tensor([2 / math.pi, 0.0]))


@pytest.mark.parametrize(
    "g", [lambda x: x[..., 0] > 0, lambda x: x.sum(), lambda x: x[:2]], ids=["bool", "sum", "rows"]
)
def test_inequalities_that_are_none(g: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match="expected g to take"):
        Restriction(Sphere(), g)


def test_an_empty_part_has_no_sampler() -> None:
    with pytest.raises(UnsupportedError, match="0 of"):
        Restriction(Sphere(), lambda x: 2 - x[..., 0]).sample_uniform(10, seeded())
    with pytest.raises(ValueError, match="at least one inequality"):
        Restriction(Sphere())


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


def test_identical_parts_count_once() -> None:
    M = Union(Sphere(), Sphere())
    assert M.volume == pytest.approx(4 * math.pi, rel=1e-12)
    assert M.homology == Homology((1, 0, 1))
    assert M.closed
    x = M.sample_uniform(50, seeded())
    assert bool(M.tangent_basis(x).isfinite().all())  # two parts, one tangent space
    half = Union(Restriction(Sphere(), upper, volume=1.6 * math.pi), Sphere())
    half.parts[0].homology = Homology((1,))
    assert half.homology == Homology((1, 0, 1))
    assert abs(half.volume - 4 * math.pi) <= half.volume_error


def test_contacts_and_homology_of_circles() -> None:
    circle = lambda s, r=1.0: Moved(Circle(r), [s, 0.0])
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
    line = implicit_plane([1.0, 0.0], 0.3)
    line.homology = Homology((1,))
    theta = Union(circle(0.0), line)
    assert theta.homology == Homology((1, 2))
    assert theta.volume is None
    given = Union(circle(0.0), circle(2.0), homology=Homology((1, 2)))
    assert given.homology == Homology((1, 2))


def test_curves_in_space_that_pass_each_other() -> None:
    knot = tg.TorusKnot()
    M = Union(knot, Moved(knot, [0.0, 0.0, 3.0]))
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


def test_learned_spheres(learned: tuple[tg.LocalPolynomials, tg.LocalPolynomials]) -> None:
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
    cap = Restriction(A, upper)
    x = Sphere().sample_uniform(200, seeded()) + torch.tensor([0.5, 0.0, 0.0])
    assert torch.equal(cap.project(x).converged, A.project(x).value[:, 2] >= 0.2)


def test_products_with_learned_factors() -> None:
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
    with pytest.raises(UnsupportedError, match="with an atlas"):
        M.atlas()
    both = Product(implicit_sphere([0.0, 0.0]), Circle())
    assert (both.dim, both.closed, both.homology) == (2, True, Homology((1, 2, 1)))
    assert both.defining is not None
    check_manifold(both)


# -- copies and laws ------------------------------------------------------------------------------


def test_copies() -> None:
    R = torch.linalg.qr(torch.randn(3, 3, generator=seeded(), dtype=torch.float64))[0]
    M = Moved(Torus(), [1.0, 2.0, 3.0], factor=2.0, rotation=R)
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
            Moved(Torus(), bad)
    with pytest.raises(ValueError, match="factor > 0"):
        Moved(Torus(), [0.0] * 3, factor=0.0)
    with pytest.raises(ValueError, match="orthogonal"):
        Moved(Torus(), [0.0] * 3, rotation=2 * R)


def _saved(M: Manifold) -> str:
    import tempfile

    path = f"{tempfile.mkdtemp()}/m.safetensors"
    tg.save(M, path)
    return path


def test_two_circles_with_von_mises_laws() -> None:
    """The published example: circles around -1.8 and 1.8, mass half and half."""
    law = VonMises(0.0, 2.0)
    parts = [Moved(law.manifold, [s, 0.0]) for s in (1.8, -1.8)]
    M = Union(*parts)
    assert M.homology == Homology((2, 2))
    q = Mixture([0.5, 0.5], [Pushforward(law, p) for p in parts], manifold=M, validate_args=False)
    assert q.likelihood == "exact"
    x = q.sample((20_000,), seeded())
    assert abs(float((x[:, 0] > 0).double().mean()) - 0.5) < 0.015
    t = torch.arange(500, dtype=torch.float64) * (2 * math.pi / 500)
    grid = torch.cat([torch.stack([s + t.cos(), t.sin()], -1) for s in (1.8, -1.8)])
    mass = q.log_prob(grid).exp().sum() * 2 * math.pi / 500
    assert float(mass) == pytest.approx(1, abs=1e-12)
    entropy = -float(q.log_prob(x).mean())
    assert entropy == pytest.approx(1.26632 + math.log(2), abs=0.03)
    check_distribution(q)


def test_mixtures_on_crossing_parts(crossing: Union) -> None:
    A, B = crossing.listed()
    q = Mixture([1.0, 3.0], [Uniform(A), Uniform(B)], manifold=crossing, validate_args=False)
    x = torch.tensor([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        q.log_prob(x).exp() * 4 * math.pi, torch.tensor([0.25, 0.75], dtype=torch.float64)
    )
    # total mass, by importance sampling with the uniform law of the union
    y = crossing.sample_uniform(4000, seeded())
    weight = q.log_prob(y).exp() * crossing.volume
    assert abs(float(weight.mean()) - 1) < 4 * 0.5 / math.sqrt(4000)
    # where parts share a piece of full dimension, both laws count
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
    with pytest.raises(MeasureError, match="copy of the set"):
        Pushforward(VonMises(0.0, 1.0), Moved(Circle(2.0), [1.0, 0.0]))


# -- conformance ----------------------------------------------------------------------------------

SETS: dict[str, Callable[[], Manifold]] = {
    "union": lambda: Union(*two_spheres()),
    "union of implicit sets": lambda: Union(
        implicit_sphere([0.5, 0.0, 0.0]), implicit_sphere([-0.5, 0.0, 0.0], 0.8)
    ),
    "intersection": lambda: Intersection(*two_spheres()),
    "intersection in R^4": lambda: Intersection(
        FlatTorus(2), Moved(Sphere(3, 1.3), [0.1, 0.2, 0.0, 0.0])
    ),
    "restriction": lambda: Restriction(Sphere(), upper),
    "copy": lambda: Moved(FlatTorus(2), [1.0, 0.0, 0.0, 0.0], factor=0.1),
    "nested": lambda: Restriction(Union(*two_spheres()), lambda x: x[..., 0] - 0.3),
    "union of intersections": lambda: Union(
        Intersection(*two_spheres()), Moved(Intersection(*two_spheres()), [0.0, 0.0, 3.0])
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_conformance(name: str) -> None:
    check_manifold(SETS[name]())


@pytest.mark.parametrize("name", SETS)
def test_bad_points(name: str) -> None:
    M = SETS[name]()
    D = M.ambient_dim
    for x in (torch.zeros(3, D + 1), torch.zeros(3, D, dtype=torch.int64)):
        # with type checks on, as here, integers do not get as far as the message
        with pytest.raises((ValueError, TypeError), match=r"expected floating-point|check"):
            M.project(x)
    p = M.project(torch.full((2, D), math.inf))
    assert not bool(p.converged.any())
    assert M.project(torch.zeros(0, D)).value.shape == (0, D)


@pytest.mark.slow
def test_a_walk_on_a_union_crosses_over() -> None:
    """Chains that all start on one sphere spread over both, with the uniform law."""
    from topogen.sampling import random_walk

    M = Union(*two_spheres())
    start = M.listed()[0].sample_uniform(200, seeded())
    result = random_walk(M, None, 400, chains=200, step=0.5, start=start, seed=0)
    for g, truth in (
        (lambda x: x[..., 0], 0.0),
        (lambda x: x[..., 2] ** 2, 1 / 3),
        (lambda x: x[..., 0] ** 2, 1 / 3 + 0.25),
    ):
        mean = result.mean(g)
        assert abs(float(mean.value) - truth) < 4 * float(mean.error)


def test_a_walk_stays_in_a_restriction() -> None:
    from topogen.sampling import random_walk

    result = random_walk(Restriction(Sphere(), upper), None, 100, chains=100, seed=0)
    assert result.status == "ok"
    z = result.samples[..., 2]
    assert float(z.min()) >= 0.2
    mean = result.mean(lambda x: x[..., 2])
    assert abs(float(mean.value) - 0.6) < 4 * float(mean.error)
