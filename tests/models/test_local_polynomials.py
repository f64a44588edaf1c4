"""LocalPolynomials: a set from points, with status, a domain of validity, and C^2 blending."""

import math

import pytest
import torch

import topogen as tg
from tests import catalogue
from topogen import calculus
from topogen.errors import InvalidPoints, NotFittedError, ProjectionError
from topogen.manifolds.monomials import monomial_count, monomials, monomials_along

pytestmark = pytest.mark.xdist_group("torus")  # the fits of tests/catalogue.py


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def torus():
    fitted = catalogue.local_torus()
    assert fitted.result.status == "converged"
    return fitted.model.atlas.manifold, fitted.space


@pytest.mark.parametrize(("dim", "degree"), [(1, 3), (2, 3), (3, 2)])
def test_monomials_are_all_products_up_to_the_degree(dim, degree):
    u = torch.arange(1, dim + 1, dtype=torch.float64).log().exp() + 0.5
    columns = monomials(u, degree)
    assert columns.shape == (monomial_count(dim, degree),)
    assert columns[0] == 1
    # the sum of all monomials of degree <= q is the complete homogeneous polynomial in (1, u)
    powers = torch.cartesian_prod(*[torch.arange(degree + 1)] * dim).reshape(-1, dim)
    expected = (u ** powers[powers.sum(-1) <= degree]).prod(-1).sum()
    torch.testing.assert_close(columns.sum(), expected)


@pytest.mark.parametrize(("dim", "degree"), [(1, 3), (3, 3)])
def test_derivatives_of_monomials(dim, degree):
    u = torch.randn(5, dim, generator=torch.manual_seed(0), dtype=torch.float64)
    v = torch.randn(5, dim, 2, generator=torch.manual_seed(1), dtype=torch.float64)
    J = calculus.jacobian(lambda x: monomials(x, degree), u)
    torch.testing.assert_close(monomials_along(u, v, degree), J @ v)


@pytest.mark.parametrize("off", [0.0, 0.03])
def test_the_closed_derivative_is_that_of_the_equations(torus, off, monkeypatch):
    """(I - P) DG V, on M and beside it, against forward mode through converged eigenvectors."""
    learned, M = torus
    frame = tg.LocalPolynomials._frame
    monkeypatch.setattr(tg.LocalPolynomials, "_frame", lambda M, w, E: frame(M, w, E, steps=16))
    y = learned._to_unit(learned.project(uniform(M, 200, 6)).value)
    y = y + off * torch.randn(y.shape, generator=torch.manual_seed(2), dtype=y.dtype)
    V = torch.eye(3, dtype=y.dtype).expand(len(y), -1, -1)
    index, _, _ = learned._weights(y)
    Q = learned._frame(*learned._blend(y, index))
    DG = calculus.jacobian(lambda z: learned._G(z, index), y)
    DG = DG - Q @ (Q.mT @ DG)
    assert float((learned._DG(y, index, V) - DG).abs().max()) < 1e-10
    assert float(DG.abs().max()) > 0.5


def test_lies_on_the_true_torus(torus):
    learned, M = torus
    found = learned.project(uniform(M, 1000, 1))
    assert bool(found.converged.all())
    off = M.residual(found.value) / 2.8
    assert float(off.median()) < 1e-4
    assert float(off.quantile(0.99)) < 1e-3


def test_tangent_spaces_are_those_of_the_truth(torus):
    learned, M = torus
    x = learned.project(uniform(M, 200, 2)).value
    Q, T = learned.tangent_basis(x), M.tangent_basis(M.project(x).value)
    assert float((Q @ Q.mT - T @ T.mT).norm(dim=(-2, -1)).quantile(0.99)) < 0.05


def test_is_twice_differentiable_across_neighbour_switches(torus):
    """Along an arc near M the second differences of G over h^2 settle, as for a C^2 map.

    A neighbour list that is cut makes G itself jump, and then they grow like h^-2.
    """
    learned, _ = torus

    def second_derivative(n, landmarks=None):
        t = torch.linspace(0, 1, n, dtype=torch.float64)
        arc = torch.stack([1.38 * t.cos(), 1.38 * t.sin(), 0.05 * t], -1)
        y = learned._to_unit(arc)
        index, nearest, total = learned._weights(y)
        assert bool(total.all())
        # the walk crosses from one landmark to another several times
        assert int((nearest[1:] != nearest[:-1]).sum()) >= 3
        G = learned._G(y, index[:, :landmarks])
        return float((G[2:] - 2 * G[1:-1] + G[:-2]).norm(dim=-1).max()) * (n - 1) ** 2

    assert second_derivative(4001) < 1.2 * second_derivative(1001)
    # negative control: with the six nearest landmarks only
    assert second_derivative(4001, 6) > 4 * second_derivative(1001, 6)


@pytest.mark.parametrize("c", [1e-3, 1e4])
def test_follows_similarities(c):
    """M(c R x + b) = c R M(x) + b: the fit is the same at any scale, rotation and place."""
    x = uniform(tg.Sphere(), 600, 3)
    R = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.manual_seed(4)))[0]
    shift = c * torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64)
    first, second = tg.LocalPolynomials(2, 3), tg.LocalPolynomials(2, 3)
    tg.fit(first, x)
    tg.fit(second, c * x @ R.T + shift)
    y = 1.02 * uniform(tg.Sphere(), 100, 6)
    moved = (first.project(y).value @ R.T) * c + shift
    back = second.project(c * y @ R.T + shift)
    assert bool(back.converged.all())
    assert float((back.value - moved).norm(dim=-1).max()) < 1e-8 * c


@pytest.mark.slow
def test_noise_widens_the_graphs_and_is_reported():
    x = uniform(tg.Torus(), 3000, 7)
    noisy = x + 0.02 * torch.randn(x.shape, dtype=x.dtype, generator=torch.manual_seed(1))
    learned = tg.LocalPolynomials(2, 3)
    tg.fit(learned, noisy)
    # distance to a set that was fitted to the same points: a little below the true .02
    assert 0.015 < learned.noise < 0.02
    off = tg.Torus().residual(learned.project(x).value)
    assert float(off.median()) < 0.3 * 0.02


def test_a_far_point_is_projected_or_says_that_it_is_not(torus):
    learned, M = torus
    far = 3 * torch.randn(300, 3, dtype=torch.float64, generator=torch.manual_seed(2))
    found = learned.project(far)
    assert bool((M.residual(found.value[found.converged]) < 1e-2).all())
    assert bool((~learned.contains(far)).all())
    with pytest.raises(ProjectionError, match="did not reach residual"):
        learned.project(far, max_steps=0, throw=True)


def test_float32_in_float32_out(torus):
    learned, M = torus
    x = uniform(M, 20, 8).float()
    found = learned.project(x)
    assert found.value.dtype == torch.float32
    assert learned.tangent_basis(x).dtype == torch.float32
    assert bool(found.converged.all())


def test_the_closed_derivative_where_the_graphs_use_few_directions(monkeypatch):
    """Noise in all of R^40: no subspace contains the points, but landmarks are few."""
    g = torch.manual_seed(0)
    t = 2 * math.pi * torch.rand(500, 1, generator=g, dtype=torch.float64)
    x = torch.cat([t.cos(), t.sin(), torch.zeros(500, 38, dtype=t.dtype)], -1)
    learned = tg.LocalPolynomials(1, 40)
    x += 1e-3 * torch.randn(x.shape, generator=g, dtype=x.dtype)
    tg.fit(learned, x)
    frame = tg.LocalPolynomials._frame
    monkeypatch.setattr(tg.LocalPolynomials, "_frame", lambda M, w, E: frame(M, w, E, steps=16))
    y = learned._to_unit(learned.project(x[:20]).value)
    index, _, _ = learned._weights(y)
    w, E = learned._blend(y, index)
    assert E.shape[-2] < 40
    Q = learned._frame(w, E)
    DG = calculus.jacobian(lambda z: learned._G(z, index), y)
    DG = DG - Q @ (Q.mT @ DG)
    V = torch.eye(40, dtype=y.dtype).expand(len(y), -1, -1)
    assert float((learned._DG(y, index, V) - DG).abs().max()) < 1e-10
    S = learned._used(y, index)
    beside = V - S @ S.mT
    assert float((learned._DG(y, index, beside) - beside).abs().max()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("D", [60, 3000])
def test_columns_change_nothing(torus, D):
    """Points of a subspace: the manifold is that of their coordinates there."""
    _, M = torus
    x = uniform(M, 1000, 0)
    V = torch.linalg.qr(torch.randn(D, 3, generator=torch.manual_seed(1), dtype=x.dtype))[0]
    few, many = tg.LocalPolynomials(2, 3), tg.LocalPolynomials(2, D)
    tg.fit(few, x)
    tg.fit(many, x @ V.T + 1)
    assert many.V.shape == (D, 3)
    assert many.noise == pytest.approx(few.noise, rel=1e-6)
    fresh = uniform(M, 200, 2)
    found, y = few.project(fresh), many.project(fresh @ V.T + 1)
    torch.testing.assert_close(y.value, found.value @ V.T + 1, atol=1e-9, rtol=0)
    T, S = many.tangent_basis(y.value), V @ few.tangent_basis(found.value)
    torch.testing.assert_close(S @ (S.mT @ T), T, atol=1e-7, rtol=0)
    beside = torch.linalg.qr(torch.cat([V, torch.ones(D, 1, dtype=x.dtype)], 1))[0][:, 3]
    off = many.residual(y.value + beside)
    torch.testing.assert_close(off, torch.ones_like(off))
    assert not bool(many.contains(y.value + beside).any())


def test_more_dimensions_than_points():
    t = 2 * math.pi * torch.arange(120, dtype=torch.float64) / 120
    x = torch.stack([t.cos(), t.sin()], -1)
    frame = torch.linalg.qr(torch.randn(200, 2, dtype=torch.float64))[0]
    learned = tg.LocalPolynomials(1, 200)
    tg.fit(learned, x @ frame.T)
    assert float((learned.project(x @ frame.T).value @ frame - x).norm(dim=-1).max()) < 1e-3


@pytest.mark.parametrize(
    ("points", "match"),
    [
        (torch.zeros(50, 3), "different points"),
        (torch.randn(5, 3), "at least 31 different points"),
        (torch.full((50, 3), math.nan), "finite numbers"),
        (torch.randn(50, 4), "in R\\^3"),
    ],
)
def test_bad_points_are_named(points, match):
    with pytest.raises(InvalidPoints, match=match):
        tg.fit(tg.LocalPolynomials(2, 3), points)


def test_bad_dimensions_and_unfitted_use():
    with pytest.raises(ValueError, match="1 <= dim < ambient_dim"):
        tg.LocalPolynomials(3, 3)
    with pytest.raises(NotFittedError, match=r"topogen\.fit"):
        tg.LocalPolynomials(2, 3).project(torch.zeros(1, 3))
