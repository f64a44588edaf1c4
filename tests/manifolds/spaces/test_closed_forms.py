"""Geodesics by formulas against the solver for any manifold, and at their limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from topogen.errors import GeodesicError, UnsupportedError
from topogen.manifolds import curvature, geodesics, shooting
from topogen.manifolds.base import Manifold
from topogen.manifolds.operations.product import Product
from topogen.manifolds.spaces import (
    Circle,
    Euclidean,
    FlatTorus,
    Interval,
    KleinBottle,
    ProjectivePlane,
    SpecialOrthogonal,
    Sphere,
    Torus,
)

SPACES: dict[str, Manifold] = {
    "circle": Circle(2.0),
    "sphere": Sphere(),
    "sphere3": Sphere(3, 0.5),
    "flat torus": FlatTorus(2),
    "projective": ProjectivePlane(),
    "rotations": SpecialOrthogonal(3),
    "plane": Euclidean(2),
    "interval": Interval(-1.0, 3.0),
    "sphere x circle": Product(Sphere(2, 2.0), Circle()),
}
ALL = pytest.mark.parametrize("name", SPACES)
CURVED = pytest.mark.parametrize("name", [n for n in SPACES if n not in ("plane", "interval")])


def draw(M: Manifold, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Points of M, unit tangent vectors there, and others."""
    generator = torch.Generator().manual_seed(seed)
    if M.volume is None:
        x = torch.randn(n, M.ambient_dim, generator=generator, dtype=torch.float64)
    else:
        x = M.rough_points(n, generator)
        assert x is not None
    c = torch.randn(n, M.dim, 2, generator=generator, dtype=torch.float64)
    v, w = (M.tangent_basis(x) @ (c / c.norm(dim=-2, keepdim=True))).unbind(-1)
    return x, v, w


def close(a: Tensor, b: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n in ("projective", "rotations") else n
        for n in SPACES
    ],
)
def test_exp_and_transport_are_those_of_the_solver(name: str) -> None:
    M = SPACES[name]
    x, v, w = draw(M, 4)
    # from tiny to more than half way round
    v = v * M.scale * torch.tensor([[1e-6], [0.1], [1.0], [2.0]], dtype=torch.float64)
    tol = 1e-11 * M.scale
    solved = geodesics.transport(M, x, v, w, tol=tol)
    carried, g = M.transport(x, v, w, tol=tol)
    assert torch.equal(g.converged, solved[1].converged)  # a geodesic may leave an interval
    ok = g.converged
    for name in ("start", "velocity", "end", "arrival", "length"):
        close(getattr(g, name)[ok], getattr(solved[1], name)[ok])
    close(carried[ok], solved[0][ok])
    assert bool((g.error[ok] == 0).all() or isinstance(M, Product))
    assert bool(g.error[~ok].isinf().all() & g.end[~ok].isnan().all())
    close(M.exp(x, v).end[ok], g.end[ok])


@pytest.mark.parametrize(
    "name",
    [
        n if n in ("circle", "sphere", "interval") else pytest.param(n, marks=pytest.mark.slow)
        for n in SPACES
    ],
)
def test_log_and_distance_are_those_of_the_solver(name: str) -> None:
    M = SPACES[name]
    x, v, _ = draw(M, 3)
    v = v * M.scale * torch.tensor([[1e-4], [0.1], [0.9]], dtype=torch.float64)
    g = M.exp(x, v)
    ok = g.converged
    solved = shooting.log(M, x[ok], g.end[ok], tol=1e-11 * M.scale, throw=True)
    found = M.log(x[ok], g.end[ok], throw=True)
    close(found.velocity, solved.velocity)
    close(found.arrival, solved.arrival)
    close(found.end, solved.end)
    close(M.distance(x[ok], g.end[ok]), solved.length)


@ALL
def test_log_inverts_exp(name: str) -> None:
    M = SPACES[name]
    x, v, _ = draw(M, 200)
    lengths = torch.logspace(-12, math.log10(0.9), 200, dtype=torch.float64).unsqueeze(-1)
    v = v * lengths * M.scale
    g = M.exp(x, v)
    ok = g.converged
    close(M.log(x[ok], g.end[ok], throw=True).velocity, v[ok], 1e-14 * (1 + M.scale) * 10)
    y, u, determined = M.geodesic(x[ok], g.end[ok], torch.full_like(g.length[ok], 0.25))
    assert bool(determined.all())
    close(y, M.exp(x[ok], v[ok] / 4).end, 1e-13 * (1 + M.scale))
    close(u, 4 * M.exp(x[ok], v[ok] / 4).arrival, 1e-12 * (1 + M.scale))


def antipodes() -> list[tuple[Manifold, Tensor, Tensor, float]]:
    """Pairs of points with several shortest geodesics between them, and their distance."""
    e = torch.eye(3, dtype=torch.float64)
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64)).reshape(9)
    P, T = ProjectivePlane(), FlatTorus(2)
    angles = torch.tensor([[0.3, 0.0], [0.3 + math.pi, 1.0]], dtype=torch.float64)
    pair = Product(Sphere(2, 2.0), Circle())
    a, b = torch.cat([2 * e[0], e[0, :2]]), torch.cat([-2 * e[0], e[1, :2]])
    return [
        (Circle(2.0), 2 * e[0, :2], -2 * e[0, :2], 2 * math.pi),
        (Sphere(2, 0.5), e[0] / 2, -e[0] / 2, math.pi / 2),
        (T, *T.parametrize(angles), math.hypot(math.pi, 1.0)),
        (P, P.embed(e[0]), P.embed(e[1]), math.pi / 2),
        (SpecialOrthogonal(3), e.reshape(9), half_turn, math.sqrt(2) * math.pi),
        (pair, a, b, math.hypot(2 * math.pi, math.pi / 2)),
    ]


@pytest.mark.parametrize("case", antipodes(), ids=lambda c: type(c[0]).__name__)
def test_the_cut_locus_has_a_distance_but_no_direction(
    case: tuple[Manifold, Tensor, Tensor, float],
) -> None:
    M, x, y, distance = case
    g = M.log(x, y)
    assert not bool(g.converged)
    assert bool(g.end.isnan().all() & g.velocity.isnan().any() & g.error.isinf())
    assert abs(float(M.distance(x, y)) - distance) < 1e-12
    with pytest.raises(GeodesicError, match="1 of 1"):
        M.log(x, y, throw=True)
    t = torch.tensor(0.5, dtype=torch.float64)
    assert not bool(M.geodesic(x, y, t)[2])
    # beside it all is determined, and as long
    z = M.project(y + 1e-6 * M.tangent_basis(y).sum(-1)).value
    near = M.log(x, z, throw=True)
    close(M.exp(x, near.velocity).end, z)
    assert abs(float(near.length) - distance) < 2e-6


@CURVED
def test_gradients_are_finite_and_right(name: str) -> None:
    M = SPACES[name]
    x, v, w = draw(M, 6)
    v = M.scale * v * torch.tensor([[0.0], [1e-12], [1e-6], [0.1], [0.7], [0.7]]).double()
    y = M.exp(x, v).end
    for f in (
        lambda x, v: M.exp(x, v).end,
        lambda x, v: M.exp(x, v).arrival,
        lambda x, v: M.transport(x, v, w)[0],
        lambda x, v: M.log(x, y).velocity,
        lambda x, v: M.log(x, M.project(y + v).value).velocity,
        lambda x, v: M.distance(x, M.project(y + v).value).unsqueeze(-1),
    ):
        a, b = x.clone().requires_grad_(), v.clone().requires_grad_()
        f(a, b).sum().backward()
        for t in (a, b):
            assert t.grad is None or bool(t.grad.isfinite().all())
    # log is the inverse of exp, so their derivatives are inverse at v = 0 too
    T = M.tangent_basis(x)

    def round_trip(c: Tensor) -> Tensor:
        u = (T @ c.unsqueeze(-1)).squeeze(-1)
        return (T.mT @ M.log(x, M.exp(x, u).end).velocity.unsqueeze(-1)).squeeze(-1)

    c = (T.mT @ v.unsqueeze(-1)).squeeze(-1).requires_grad_()
    rows = [torch.autograd.grad(round_trip(c)[:, i].sum(), c)[0] for i in range(M.dim)]
    close(torch.stack(rows, -2), torch.eye(M.dim).double().expand(6, -1, -1), 1e-7)


@CURVED
def test_float32_and_broadcasting(name: str) -> None:
    M = SPACES[name]
    x, v, w = draw(M, 6)
    v = 0.5 * M.scale * v
    g = M.exp(x.float(), v.float())
    assert g.end.dtype == g.length.dtype == torch.float32
    assert bool(g.converged.all())
    close(g.end.double(), M.exp(x, v).end, 1e-6 * M.scale)
    back = M.log(x.float(), g.end, throw=True)
    close(back.velocity.double(), v, 1e-5 * M.scale)
    assert M.distance(x.float(), g.end).dtype == torch.float32
    # leading axes are rows, and broadcast
    y = M.exp(x, v).end
    table = M.log(x[:2, None], y[None, :3])
    assert table.velocity.shape == (2, 3, M.ambient_dim)
    close(table.length[1, 2], M.distance(x[1], y[2]))
    assert M.distance(x[0], y).shape == (6,)
    assert M.transport(x[0], v[:1].expand(4, -1) * 0, w[0] * 0)[0].shape == (4, M.ambient_dim)
    assert M.log(x[:0], y[:0]).length.shape == (0,)


@CURVED
def test_what_is_refused(name: str) -> None:
    M = SPACES[name]
    x, v, _ = draw(M, 3)
    off = x.clone()
    off[1] *= 1.5
    off[2] = math.nan
    g = M.exp(off, v)
    assert g.converged.tolist() == M.log(off, x).converged.tolist() == [True, False, False]
    assert g.length.isnan().tolist() == [False, True, True]
    assert M.distance(off, x, throw=False).isnan().tolist() == [False, True, True]
    for call in (M.exp, M.log):
        with pytest.raises(GeodesicError, match="2 of 3"):
            call(off, v if call == M.exp else x, throw=True)
    with pytest.raises(GeodesicError):
        M.distance(off, x)
    with pytest.raises(ValueError, match="normal part"):
        M.exp(x, x)
    with pytest.raises(ValueError, match="normal part"):
        M.transport(x, v, x)
    with pytest.raises(ValueError, match="shape"):
        M.log(x[:, :-1], x[:, :-1])
    with pytest.raises(ValueError, match="float64 points"):
        M.exp(x.float(), v.float(), tol=1e-13)


@pytest.mark.parametrize(
    "M",
    [*SPACES.values(), Torus(), KleinBottle(), Product(Torus(), Sphere())],
    ids=lambda M: type(M).__name__,
)
def test_curvature_is_that_of_the_equations(M: Manifold) -> None:
    x, *_ = draw(M, 5)
    II = curvature.second_fundamental_form(M, x)
    close(M.second_fundamental_form(x), II, 1e-12)
    close(M.mean_curvature(x), II.diagonal(dim1=-3, dim2=-2).mean(-1), 1e-12)
    # in another basis
    rotated = torch.linalg.qr(torch.randn(5, M.dim, M.dim, dtype=torch.float64))[0]
    T = M.tangent_basis(x) @ rotated
    close(M.second_fundamental_form(x, T), curvature.second_fundamental_form(M, x, T), 1e-12)
    assert M.second_fundamental_form(x.float()).dtype == torch.float32


def test_only_three_dimensions_have_rotations() -> None:
    with pytest.raises(UnsupportedError, match="n = 3"):
        SpecialOrthogonal(4)
