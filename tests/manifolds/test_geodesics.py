"""Geodesics: known curves, order of the integrator, reversibility, status, learned manifolds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from topogen.errors import GeodesicError
from topogen.manifolds import geodesics
from topogen.manifolds.base import Manifold
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import Union, disjoint_union
from topogen.manifolds.spaces import (
    Circle,
    FlatTorus,
    GenusSurface,
    HopfLink,
    KleinBottle,
    MobiusBand,
    ReferenceSpace,
    SpecialOrthogonal,
    Sphere,
    Torus,
)


def slow(*values: object) -> object:
    """Parameters of a case that takes long."""
    return pytest.param(*values, marks=pytest.mark.slow)


def draw(M: ReferenceSpace, n: int, length: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Uniform points, and tangent vectors there of one length."""
    generator = torch.Generator().manual_seed(seed)
    x = M.sample_uniform(n, generator)
    c = torch.randn(n, M.dim, 1, generator=generator, dtype=x.dtype)
    return x, (M.tangent_basis(x) @ (length * c / c.norm(dim=-2, keepdim=True))).squeeze(-1)


def close(a: Tensor, b: Tensor, atol: float) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def test_great_circles() -> None:
    M = Sphere(2, 2.0)
    x, v = draw(M, 20, 5.0)  # 2.5 radians
    g = M.exp(x, v, throw=True)
    angle = torch.tensor(2.5, dtype=x.dtype)
    close(g.end, x * angle.cos() + v * (2 / 5) * angle.sin(), 1e-7)
    close(g.arrival, v * angle.cos() - x * (5 / 2) * angle.sin(), 1e-6)
    true = (g.end - x * angle.cos() - v * (2 / 5) * angle.sin()).norm(dim=-1)
    assert bool((true <= g.error + 1e-12).all())  # the estimate bounds the error
    close(g.length, torch.full_like(g.length, 5.0), 1e-12)
    back = M.log(x, g.end, throw=True)
    close(back.velocity, v, 1e-6)
    close(M.distance(x, g.end), g.length, 1e-7)


def test_rotations_move_at_root_two() -> None:
    M = SpecialOrthogonal()
    x, y = draw(M, 12, 1.0)[0], draw(M, 12, 1.0, seed=1)[0]
    angle = (((x * y).sum(-1) - 1) / 2).clamp(-1, 1).acos()
    close(M.distance(x, y), math.sqrt(2) * angle, 1e-7)
    # exp is X times the matrix exponential of X^T V
    x, v = draw(M, 12, 2.0)
    X, V = x.unflatten(-1, (3, 3)), v.unflatten(-1, (3, 3))
    close(M.exp(x, v).end, (X @ torch.linalg.matrix_exp(X.mT @ V)).flatten(-2), 1e-7)


@pytest.mark.slow
def test_flat_torus() -> None:
    M = FlatTorus(2)
    x, y = draw(M, 12, 1.0)[0], draw(M, 12, 1.0, seed=1)[0]
    t = M.coordinates(y) - M.coordinates(x)
    t = t - 2 * math.pi * (t / (2 * math.pi)).round()
    near = t.abs().amax(-1) < 2.8  # beyond, both ways round are of about one length
    close(M.distance(x[near], y[near]), t[near].norm(dim=-1), 1e-7)


@pytest.mark.slow
def test_meridians_of_the_ring_torus_and_of_the_klein_bottle() -> None:
    for M, r in ((Torus(), 0.4), (KleinBottle(), 0.5)):
        a = torch.tensor([[0.3, 0.2], [2.0, -1.0]], dtype=torch.float64)
        b = a + torch.tensor([[0.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
        d = M.distance(M.parametrize(a), M.parametrize(b))
        close(d, r * torch.tensor([1.0, 2.0], dtype=torch.float64), 1e-7)


@pytest.mark.slow
def test_the_outer_equator_and_clairaut() -> None:
    # rho times the component of the velocity along the parallel is the same all the way
    M = Torus()
    x, v = draw(M, 20, 2.0)

    def clairaut(x: Tensor, v: Tensor) -> Tensor:
        return x[:, 0] * v[:, 1] - x[:, 1] * v[:, 0]

    g = M.exp(x, v, throw=True)
    close(clairaut(g.end, g.arrival), clairaut(x, v), 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("M", [Sphere(), SpecialOrthogonal(), slow(Torus())])
def test_the_integrator_is_of_order_two_and_reversible(M: ReferenceSpace) -> None:
    x, v = draw(M, 10, 1.0)
    T = M.tangent_basis(x)
    ok = torch.ones(10, dtype=torch.bool)
    start = geodesics.GeodesicState(x, v, T, (T.mT @ v.unsqueeze(-1)), ok)
    exact = M.exp(x, v, tol=1e-10, throw=True)
    errors = []
    for n in (8, 16, 32):
        s = geodesics.integrate(M, start, torch.full((10,), n), 1e-13)
        assert bool(s.ok.all())
        errors.append((s.q - exact.end).norm(dim=-1).mean())
        back = geodesics.integrate(M, s._replace(p=-s.p), torch.full((10,), n), 1e-13)
        close(back.q, x, 1e-10)
        close((back.T @ back.c).squeeze(-1), v, 1e-10)
    for coarse, fine in itertools.pairwise(errors):
        assert 1.9 < math.log2(float(coarse / fine)) < 2.1


@pytest.mark.parametrize(
    ("M", "length"),
    [
        slow(Sphere(), 2.0),
        slow(Torus(), 0.5),
        slow(SpecialOrthogonal(), 1.5),
        slow(GenusSurface(2), 0.5),
    ],
)
def test_log_inverts_exp(M: ReferenceSpace, length: float) -> None:
    x, v = draw(M, 8, length)
    g = M.log(x, M.exp(x, v, throw=True).end, throw=True)
    close(g.velocity, v, 1e-6)


@pytest.mark.slow
def test_log_inverts_exp_on_a_surface_that_turns_over() -> None:
    M = KleinBottle()
    x, v = draw(M, 4, 0.5)
    g = M.log(x, M.exp(x, v, throw=True).end, throw=True)
    close(g.velocity, v, 1e-6)
    # zero sets by four equations of rank two too
    N = ImplicitManifold(M.equations, 2, 4, scale=M.scale)
    close(N.exp(x, v, throw=True).end, M.exp(x, v).end, 1e-7)


@pytest.mark.parametrize("M", [Sphere(), slow(Torus())], ids=["formula", "solver"])
def test_the_gradient_of_a_distance_is_the_unit_tangent_of_arrival(M: ReferenceSpace) -> None:
    x, v = draw(M, 2, 0.5)
    y = M.exp(x, v, throw=True).end.requires_grad_()
    x = x.requires_grad_()
    d = M.distance(x, y)
    gx, gy = torch.autograd.grad(d.sum(), (x, y))
    g = M.log(x.detach(), y.detach())
    close(gy, g.arrival / g.length.unsqueeze(-1), 1e-6)
    close(gx, -g.velocity / g.length.unsqueeze(-1), 1e-6)
    # at x = y there is none; it is 0, not NaN
    z = x.detach().clone().requires_grad_()
    (gz,) = torch.autograd.grad(M.distance(z, x.detach()).sum(), z)
    assert bool(gz.isfinite().all())


def test_parallel_transport() -> None:
    M = Sphere()
    a, b, c = torch.eye(3, dtype=torch.float64)
    w = b
    for p, q in ((a, b), (b, c), (c, a)):
        w, g = M.transport(p, q * math.pi / 2, w, throw=True)
        assert bool(g.converged)
    close(w, c, 1e-6)  # turned by the area of the octant, pi / 2


@pytest.mark.slow
def test_parallel_transport_is_an_isometry() -> None:
    # that takes the velocity along
    T = Torus()
    x, v = draw(T, 10, 1.0)
    w = T.tangent_basis(x)[..., 0]
    moved, g = T.transport(x, v, w, throw=True)
    close(moved.norm(dim=-1), w.norm(dim=-1), 1e-7)
    close((moved * g.arrival).sum(-1), (w * v).sum(-1), 1e-6)
    close(T.transport(x, v, v)[0], g.arrival, 1e-6)


@pytest.mark.slow
def test_a_path_through_points_finds_the_way_round() -> None:
    # the chord of two points of the inner equator leads through the hole
    M = Torus()
    t = torch.tensor([[0.0, math.pi], [2.6, math.pi]], dtype=torch.float64)
    x, y = M.parametrize(t)
    cloud = M.sample_uniform(1500, torch.Generator().manual_seed(0))
    g = M.log(x, y, through=cloud)
    assert bool(g.converged)
    assert float(g.length) < 2.6 * 0.6 + 1e-6  # no longer than along that equator


def test_status() -> None:
    M = Sphere()
    x = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [math.nan, 0, 0], [1.0, 0, 0]])
    v = torch.tensor([[0.0, 1, 0], [0.0, 1, 0], [0.0, 1, 0], [0.0, 0, 0]])
    g = M.exp(x, v)
    assert g.converged.tolist() == [True, False, False, True]
    assert g.end.isnan().any(-1).tolist() == [False, True, True, False]
    assert g.length.isnan().tolist() == [False, True, True, False]
    assert g.end.dtype == torch.float32
    with pytest.raises(GeodesicError, match="2 of 4"):
        M.exp(x, v, throw=True)
    # rows do not see each other, leading axes are rows
    assert torch.equal(M.exp(x[0], v[0]).end, g.end[0])
    assert M.exp(x[:1], v.reshape(2, 2, 3)).end.shape == (2, 2, 3)
    assert M.log(x[:0], x[:0]).length.shape == (0,)
    # few steps are no silent answer
    a, b = x[:1].double(), 3 * v[:1].double()
    assert not bool(geodesics.exp(M, a, b, max_steps=8).converged)
    with pytest.raises(ValueError, match="normal part"):
        M.exp(x[:1], x[:1])
    with pytest.raises(ValueError, match="shape"):
        M.exp(x[:1, :2], v[:1, :2])
    with pytest.raises(ValueError, match="float64 points"):
        M.exp(x[:1], v[:1], tol=1e-12)
    y = torch.tensor([[0.0, 1, 0]])
    assert bool(M.distance(x[1:2], y, throw=False).isnan().all())
    with pytest.raises(GeodesicError):
        M.distance(x[1:2], y)


@pytest.mark.slow
def test_a_geodesic_ends_where_m_is_no_longer_stated() -> None:
    M = MobiusBand(0.6)
    x = M.parametrize(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
    across = M.parametrize(torch.tensor([[1.0, 0.2]], dtype=torch.float64)) - x
    assert bool(M.exp(x, across).converged)
    close(M.exp(x, across).end, x + across, 1e-7)  # a ruled surface
    assert not bool(M.exp(x, 2 * across).converged.any())


@pytest.mark.slow
def test_two_components_have_no_distance() -> None:
    M = HopfLink()
    x = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    y = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
    d = M.distance(x, y, throw=False)
    assert abs(float(d[0]) - math.pi / 2) < 1e-7
    assert math.isnan(float(d[1]))


@pytest.mark.parametrize(
    ("M", "n", "expected"),
    [
        (HopfLink(), 300, 2),
        (disjoint_union(Circle(1.0), Circle(1.01)), 400, 2),
        (Torus(), 300, 1),
        (SpecialOrthogonal(), 300, 1),
        (disjoint_union(Sphere(), Sphere(2, 1.2)), 800, 2),
    ],
)
def test_components(M: ReferenceSpace, n: int, expected: int) -> None:
    x = M.sample_uniform(n, torch.Generator().manual_seed(0))
    label = M.components(x)
    assert label.shape == (n,)
    counts = label.bincount()
    assert counts.numel() == expected
    assert bool((counts.diff() <= 0).all())  # the largest first
    if isinstance(M, Union):
        part = M.part(x) == 1
        assert bool((part == part[0])[label == label[0]].all())


def test_components_of_both_parts_of_the_orthogonal_group() -> None:
    # X^T X = I in six equations has two components, told apart by the determinant
    def F(x: Tensor) -> Tensor:
        X = x.unflatten(-1, (3, 3))
        E = X.mT @ X - torch.eye(3, dtype=x.dtype)
        i, j = torch.triu_indices(3, 3).unbind(0)
        return E[..., i, j]

    M = ImplicitManifold(F, 3, 9, scale=math.sqrt(3))
    generator = torch.Generator().manual_seed(0)
    x = M.project(torch.randn(300, 9, generator=generator, dtype=torch.float64)).value
    x[5] = math.nan
    label = M.components(x)
    det = torch.linalg.det(x.unflatten(-1, (3, 3)))
    assert label.unique().tolist() == [-1, 0, 1]
    assert int(label[5]) == -1
    first = det[label == 0] > 0
    assert bool((first == first[0]).all())
    assert bool(((det > 0) == first[0])[label == 1].logical_not().all())
    assert M.components(x[:0]).shape == (0,)


@pytest.mark.slow
def test_learned_sets() -> None:
    from topogen.models.local_polynomials import LocalPolynomials
    from topogen.training import fit

    space = Sphere()
    M: Manifold = LocalPolynomials(2, 3)
    fit(M, space.sample_uniform(1500, torch.Generator().manual_seed(0)))
    x = M.project(space.sample_uniform(4, torch.Generator().manual_seed(1))).value
    v = 0.7 * M.tangent_basis(x)[..., 0]
    g = M.exp(x, v, throw=True)
    angle = ((x * g.end).sum(-1) / x.norm(dim=-1) / g.end.norm(dim=-1)).acos()
    close(angle, torch.full_like(angle, 0.7), 2e-3)
    close(M.log(x, g.end, throw=True).velocity, v, 1e-3)
