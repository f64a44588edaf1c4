"""Projection and nearest points: order, status, damping, derivatives through the solution."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from topogen import calculus
from topogen.errors import ProjectionError
from topogen.manifolds import solvers
from topogen.manifolds.base import Manifold
from topogen.manifolds.implicit import ImplicitManifold
from topogen.manifolds.operations import Restriction, Similarity, Union
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import (
    Circle,
    KleinBottle,
    ProjectivePlane,
    ReferenceSpace,
    SpecialOrthogonal,
    Torus,
    TorusKnot,
)


def veronese(x: Tensor) -> Tensor:
    """P^2 - P, P the matrix of trace 1 of x: 6 equations, of rank 3 on the projective plane."""
    P = ProjectivePlane.matrix(x)
    i, j = torch.triu_indices(3, 3).unbind(0)
    return (P @ P - P)[..., i, j]


def zero_set(F: Callable[[Tensor], Tensor], space: ReferenceSpace) -> ImplicitManifold:
    return ImplicitManifold(F, space.dim, space.ambient_dim, scale=space.scale)


# regular ones of one and several equations, and over-determined ones of constant rank
CASES: dict[str, Callable[[], tuple[Manifold, ReferenceSpace]]] = {
    "torus": lambda: (zero_set(Torus().defining, Torus()), Torus()),
    "knot": lambda: (zero_set(TorusKnot().defining, TorusKnot()), TorusKnot()),
    "rotations": lambda: (
        zero_set(SpecialOrthogonal().defining, SpecialOrthogonal()),
        SpecialOrthogonal(),
    ),
    "projective": lambda: (zero_set(veronese, ProjectivePlane()), ProjectivePlane()),
    "klein": lambda: (zero_set(KleinBottle().equations, KleinBottle()), KleinBottle()),
}


def near(space: ReferenceSpace, n: int, noise: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = space.sample_uniform(n, generator)
    return x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def differences(f: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Tensor:
    """Central differences, one column for each coordinate."""
    moves = h * torch.eye(x.shape[-1], dtype=x.dtype).unsqueeze(1)
    up, down = f(torch.stack([x + moves, x - moves]))
    return ((up - down) / (2 * h)).movedim(0, -1)


@pytest.mark.parametrize("name", CASES)
def test_nearest_is_the_nearest_point_and_converges_quadratically(name: str) -> None:
    M, space = CASES[name]()
    y = near(space, 40, 0.04)
    p = M.nearest(y, throw=True)
    torch.testing.assert_close(p.value, space.project(y).value, rtol=0, atol=1e-9)
    # digits double: from 1e-2 of the start to 1e-12 in a handful, projection included
    assert int(p.steps.max()) <= 10
    # e_{i+1} ~ C e_i^2: the exponent from three residuals in a row
    y = near(space, 40, 0.08)
    e = [float(M.nearest(y, max_steps=i).residual.quantile(0.9)) for i in range(3)]
    assert math.log(e[2] / e[1]) / math.log(e[1] / e[0]) > 1.6, e


def test_a_fixed_point_iteration_is_linear_where_newton_is_not() -> None:
    # control: without second derivatives the error falls by distance / reach only
    M, space = CASES["torus"]()
    y = near(space, 60, 0.04)
    z = M.project(y).value
    for _ in range(3):
        Q = M.tangent_basis(z)
        z = M.project(z + (Q @ (Q.mT @ (y - z).unsqueeze(-1))).squeeze(-1)).value
    slow = (z - space.project(y).value).norm(dim=-1).median()
    fast = (M.nearest(y, max_steps=3).value - space.project(y).value).norm(dim=-1).median()
    assert float(slow) > 1e3 * float(fast)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_with_respect_to_the_point(name: str) -> None:
    M, space = CASES[name]()
    y = near(space, 4, 0.03)
    tol = 1e-13 * M.scale
    maps: list[Callable[[Tensor], Tensor]] = [
        lambda z: M.project(z).value,
        lambda z: M.nearest(z, tol=tol).value,
    ]
    for f in maps:
        expected = differences(f, y)
        for mode in ("forward", "reverse"):
            J = calculus.jacobian(f, y, mode=mode)
            torch.testing.assert_close(J, expected, rtol=0, atol=1e-7)


def test_the_derivative_of_nearest_is_the_formula() -> None:
    # at distance t outside a sphere of radius r the tangential factor is r / (r + t)
    M = ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 4, 2, 3, scale=2.0)
    x = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    J = calculus.jacobian(lambda z: M.nearest(z).value, x)
    for row, factor in zip(J, (2 / 3, 1.0), strict=True):
        expected = factor * torch.diag(torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64))
        torch.testing.assert_close(row, expected, rtol=0, atol=1e-10)


class Ellipsoid(nn.Module):
    """F, or the over-determined (F, (2 + x_1) F): the same set, of rank 1."""

    def __init__(self, copies: int) -> None:
        super().__init__()
        self.axes = nn.Parameter(torch.tensor([1.0, 0.8, 1.3], dtype=torch.float64))
        self.copies = copies

    def forward(self, x: Tensor) -> Tensor:
        f = (x / self.axes).square().sum(-1, keepdim=True) - 1
        return f if self.copies == 1 else torch.cat([f, (2 + x[..., :1]) * f], -1)


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("solver", ["project", "nearest"])
def test_derivatives_with_respect_to_parameters(copies: int, solver: str) -> None:
    F = Ellipsoid(copies)
    M = ImplicitManifold(F, 2, 3)
    generator = torch.Generator().manual_seed(0)
    y = M.project(torch.randn(6, 3, generator=generator, dtype=torch.float64)).value.detach()
    y = y + 0.1 * torch.randn(y.shape, generator=generator, dtype=y.dtype)

    def value() -> Tensor:
        return getattr(M, solver)(y, tol=1e-14).value

    weights = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    (gradient,) = torch.autograd.grad((weights * value()).sum(), F.axes)
    h = 1e-6
    for i in range(3):
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                F.axes[i] += sign * h
                ends.append((weights * value()).sum())
                F.axes[i] -= sign * h
        expected = (ends[0] - ends[1]) / (2 * h)
        torch.testing.assert_close(gradient[i], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("method", ["auto", "gauss_newton", "levenberg_marquardt"])
def test_points_that_have_arrived_keep_the_derivative_of_a_step(method: solvers.Method) -> None:
    F = Ellipsoid(1)
    M = ImplicitManifold(F, 2, 3)
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = M.project(M.project(x).value.detach(), method=method).value.detach()
    assert not bool(M.project(x, method=method).steps.any())
    D = torch.autograd.functional.jacobian(lambda y: M.project(y, method=method).value.sum(0), x)
    torch.testing.assert_close(D.movedim(1, 0), calculus.projector(M.tangent_basis(x)))
    torch.testing.assert_close(
        calculus.jacobian(lambda y: M.project(y, method=method).value, x), D.movedim(1, 0)
    )
    # and that of a parameter: along the normal, M moves by x_1^2 / a_1^3 over |DF|/2
    y = M.project(x, method=method).value
    n = M.normal_basis(x).squeeze(-1).detach()
    (got,) = torch.autograd.grad((n * y).sum(), F.axes)
    DF = 2 * x / F.axes.detach().square()
    expected = (2 * x.square() / F.axes.detach() ** 3) * (n / DF).mean(-1, keepdim=True)
    torch.testing.assert_close(got, expected.sum(0), rtol=1e-9, atol=1e-9)


def test_the_normal_part_of_the_parameter_derivative() -> None:
    # of the radius of a sphere: -J^+ dF/d theta is the unit normal
    radius = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    class Sphere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.radius = radius

        def forward(self, x: Tensor) -> Tensor:
            return (x * x).sum(-1, keepdim=True) - self.radius**2

    M = ImplicitManifold(Sphere(), 2, 3, scale=2.0)
    x = torch.tensor([[0.0, 3.0, 4.0]], dtype=torch.float64)
    y = M.nearest(x).value
    n = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    (d,) = torch.autograd.grad((y * n).sum(), radius)
    assert abs(float(d) - 1) < 1e-9


def test_levenberg_marquardt_converges_where_gauss_newton_fails() -> None:
    # |DF| varies by 1e6: Gauss-Newton jumps about, damping does not
    def stiff(x: Tensor) -> Tensor:
        a, b = x.unbind(-1)
        return (torch.atan(8 * (a * a + b * b - 1))).unsqueeze(-1)

    M = ImplicitManifold(stiff, 1, 2)
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(300, 2, generator=generator, dtype=torch.float64)
    failed = {
        m: int((~M.project(x, method=m).converged).sum())
        for m in ("gauss_newton", "levenberg_marquardt", "auto")
    }
    assert failed["gauss_newton"] > 30
    assert failed["levenberg_marquardt"] == 0
    assert failed["auto"] == 0
    p = M.project(x)
    torch.testing.assert_close(p.value.norm(dim=-1), torch.ones(300, dtype=torch.float64))
    # rows that the first method settles keep its answer
    q = M.project(x, method="gauss_newton")
    assert torch.equal(p.value[q.converged], q.value[q.converged])


@pytest.mark.parametrize("method", ["gauss_newton", "levenberg_marquardt"])
@pytest.mark.parametrize("name", CASES)
def test_both_methods_agree_near_m(name: str, method: solvers.Method) -> None:
    M, space = CASES[name]()
    assert isinstance(M, ImplicitManifold)
    p = M.project(near(space, 40, 0.03), method=method, throw=True)
    assert float(space.residual(p.value).max()) < 1e-9
    # rows do not see each other
    alone = M.project(near(space, 40, 0.03)[7], method=method)
    torch.testing.assert_close(alone.value, p.value[7], rtol=0, atol=1e-12)


def test_a_tolerance_below_the_rounding_is_refused() -> None:
    M = ImplicitManifold(lambda x: (x * x).sum(-1, keepdim=True) - 1, 2, 3)
    x = torch.randn(5, 3)
    for call in (M.project, M.nearest):
        with pytest.raises(ValueError, match="float64 points"):
            call(x, tol=1e-9)
        assert bool(call(x.double(), tol=1e-9).converged.all())
        with pytest.raises(ValueError, match="tol"):
            call(x, tol=math.nan)
    # a float32 network is no better for float64 points
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    with pytest.raises(ValueError, match="float32"):
        ImplicitManifold(net, 2, 3).project(x.double(), tol=1e-9)


def test_nearest_says_where_it_fails() -> None:
    M, _ = CASES["torus"]()
    y = torch.tensor([[1.5, 0.0, 0.0], [math.nan, 0.0, 0.0]], dtype=torch.float64)
    p = M.nearest(y)
    assert p.converged.tolist() == [True, False]
    with pytest.raises(ProjectionError):
        M.nearest(y, throw=True)
    assert not bool(M.nearest(y[:1] + 0.1, max_steps=0).converged.any())


def test_return_along_a_fixed_frame_can_be_reversed() -> None:
    M, space = CASES["klein"]()
    x = near(space, 40, 0.0)
    Q = space.tangent_basis(x)
    v = 0.1 * Q[..., 0]
    there = solvers.return_along(M, x + v, calculus.complement(Q), tol=1e-13)
    y, T = there.value, M.tangent_basis(there.value)
    back = (T @ (T.mT @ (x - y).unsqueeze(-1))).squeeze(-1)
    here = solvers.return_along(M, y + back, calculus.complement(T), tol=1e-13)
    assert bool((there.converged & here.converged).all())
    torch.testing.assert_close(here.value, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "M",
    [
        Union(Torus(), Similarity(Torus(), [9.0, 0.0, 0.0])),
        Restriction(Torus(), lambda x: x[..., 0]),
        Similarity(Torus(), [0.0, 0.0, 0.0], factor=2.0),
        Product(Torus(), Circle()),
    ],
    ids=lambda M: type(M).__name__,
)
def test_errors_name_the_tolerance_that_was_missed(M: Manifold) -> None:
    x = torch.full((1, M.ambient_dim), math.nan, dtype=torch.float64)
    for tol in (None, 1e-3):
        named = rf"residual {M.solver_tolerance(tol, x.dtype):.1e} "
        for move in (M.project, M.nearest):
            with pytest.raises(ProjectionError, match=named):
                move(x, tol=tol, throw=True)
