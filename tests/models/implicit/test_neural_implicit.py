import math

import pytest
import torch

import topogen as tg
from tests import catalogue
from topogen import calculus
from topogen.errors import InvalidPoints, NotFittedError, UnsupportedError
from topogen.models.implicit import NeuralImplicit

SMALL = dict(features=150, width=48)


pytestmark = pytest.mark.xdist_group("neural torus")  # the fits of tests/catalogue.py


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module", params=[None, "residual"])
def torus(request):
    """A ring torus learned in the regular and in the residual form, and the truth."""
    fitted = catalogue.neural_torus(request.param)
    return fitted.model, fitted.space, fitted.result


def test_known_answers(torus):
    N, M, result = torus
    assert result.status == "converged"
    assert N.form == ("regular" if N.constraints is None else "residual")
    assert N.orientable
    y = uniform(M, 1000, 1)
    p = N.project(y)
    assert bool(p.converged.all())
    assert bool(N.in_domain(y).all())
    assert float((p.value - y).norm(dim=-1).median()) < 2e-3
    assert float((p.value - y).norm(dim=-1).max()) < 2e-2
    assert bool(N.contains(p.value).all())
    assert N.checks.problems == ()
    assert N.checks.components == N.checks.expected == 1


def test_tangents_are_those_of_the_set(torus):
    # finite differences along M, of second order: h = 1e-5 leaves 1e-8 or so
    N, M, _ = torus
    p = N.project(uniform(M, 200, 2)).value
    T = N.tangent_basis(p)
    h = 1e-5
    for t in T.unbind(-1):
        v = (N.project(p + h * t).value - N.project(p - h * t).value) / (2 * h)
        normal = v - (T @ (T.mT @ v.unsqueeze(-1))).squeeze(-1)
        assert float(normal.norm(dim=-1).max()) < 1e-6
        assert float((v.norm(dim=-1) - 1).abs().max()) < 1e-6


def test_the_kernel_of_df_is_the_tangent_space_of_the_regular_form_only(torus):
    # negative control: the residual form needs the derivative of the projector
    N, M, _ = torus
    p = N.project(uniform(M, 200, 2)).value
    J = N.net.linearize((p - N.centre) / N.unit)[1]
    kernel = torch.linalg.svd(J)[2][..., 1:, :].mT
    T = N.tangent_basis(p)
    apart = kernel - T @ (T.mT @ kernel)
    largest = float(apart.norm(dim=(-2, -1)).max())
    assert largest < 1e-9 if N.form == "regular" else largest > 1e-4


def test_the_closed_form_is_the_derivative(torus):
    N, M, _ = torus
    x = 1.01 * uniform(M, 50, 3)
    E, DE = N.linearize(x)
    assert torch.allclose(E, N.equations(x), atol=1e-12)
    assert torch.allclose(DE, calculus.jacobian(N.equations, x), atol=1e-10)
    s = torch.linalg.svdvals(N.linearize(N.project(x).value)[1])
    assert float(s[:, 0].min()) > 0.5
    assert s.shape[1] == 1 or float(s[:, 1:].max()) < 1e-9  # rank D - d, exactly


def test_second_derivatives(torus):
    N, M, _ = torus
    x = N.project(uniform(M, 20, 4)).value
    D2 = calculus.jacobian(lambda y: calculus.jacobian(N.equations, y).flatten(-2), x)
    D2 = D2.unflatten(-2, (-1, 3))
    h = 1e-5
    for i, e in enumerate(torch.eye(3, dtype=torch.float64)):
        difference = (N.linearize(x + h * e)[1] - N.linearize(x - h * e)[1]) / (2 * h)
        assert torch.allclose(D2[..., i], difference, atol=1e-5)


def test_far_points_are_pulled_to_the_data_and_bad_ones_fail(torus):
    N, _, _ = torus
    x = torch.tensor([[4.0, 1.0, 2.0], [0.0, 0.0, 0.0], [math.nan, 0.0, 0.0]]).double()
    p = N.project(x)
    assert p.converged.tolist() == [True, True, False]
    assert N.in_domain(x).tolist() == [False, False, False]
    assert not bool(N.contains(x).any())
    assert float(N.residual(x)[0]) > 2.0


def test_no_points_are_no_trouble(torus):
    N, none = torus[0], torch.zeros(0, 3, dtype=torch.float64)
    E, DE = N.linearize(none)
    assert E.shape[0] == 0
    assert DE.shape == (0, E.shape[1], 3)
    assert N.nearest(none).value.shape == N.project(none).value.shape == (0, 3)


def test_saved_and_loaded(torus, tmp_path):
    N, M, _ = torus
    tg.save(N, tmp_path / "m.safetensors")
    L = tg.load(tmp_path / "m.safetensors")
    x = 1.01 * uniform(M, 50, 4)
    assert torch.equal(L.project(x).value, N.project(x).value)
    assert (L.form, L.checks, L.tolerance) == (N.form, N.checks, N.tolerance)


@pytest.mark.slow
def test_one_seed_one_set():
    x = uniform(tg.Circle(), 300, 0)
    a, b = (NeuralImplicit(1, 2, features=50, width=32) for _ in range(2))
    for N in (a, b):
        tg.fit(N, x, seed=3)
    assert torch.equal(a.net.C, b.net.C)


def test_two_circles_see_the_same_sign_between_them():
    # F would have one more zero between pieces that are oriented against one another
    x = uniform(tg.Circle(), 400, 0)
    shift = torch.tensor([1.8, 0.0], dtype=torch.float64)
    N = NeuralImplicit(1, 2, **SMALL)
    result = tg.fit(N, torch.cat([x[:200] - shift, x[200:] + shift]))
    assert result.status == "converged"
    assert N.checks.components == N.checks.expected == 2
    assert N.checks.far < 1e-3


@pytest.mark.slow
def test_a_klein_bottle_is_no_regular_zero_set():
    x = uniform(tg.KleinBottle(), 2000, 0)
    with pytest.raises(UnsupportedError, match="expected orientable data"):
        tg.fit(NeuralImplicit(2, 4, 2), x)


@pytest.mark.slow
def test_a_klein_bottle_is_a_residual_one():
    M = tg.KleinBottle()
    N = NeuralImplicit(2, 4, features=300, width=64)
    result = tg.fit(N, uniform(M, 2500, 0))
    assert (result.status, N.form, N.orientable) == ("converged", "residual", False)
    y = uniform(M, 500, 1)
    assert float((N.project(y).value - y).norm(dim=-1).median()) < 1e-2
    s = torch.linalg.svdvals(N.linearize(N.project(y).value)[1])
    assert float(s[:, 1].min()) > 0.5
    assert float(s[:, 2].max()) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:NeuralImplicit")
def test_a_set_that_failed_says_so():
    # a network of two units cannot hold a torus
    N = NeuralImplicit(2, 3, features=0, width=2)
    result = tg.fit(N, uniform(tg.Torus(), 1000, 0))
    assert result.status == "max_steps"
    assert N.checks is None or N.checks.problems


def test_bad_arguments():
    with pytest.raises(ValueError, match="1 <= dim < ambient_dim"):
        NeuralImplicit(2, 2)
    with pytest.raises(ValueError, match="width >= 1"):
        NeuralImplicit(1, 2, width=0)
    with pytest.raises(InvalidPoints, match="20 different points, got 1"):
        tg.fit(NeuralImplicit(1, 2), torch.ones(300, 2))
    with pytest.raises(ValueError, match="D - d = 1"):
        NeuralImplicit(2, 3, 2)
    with pytest.raises(NotFittedError):
        NeuralImplicit(1, 2).project(torch.zeros(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("constraints", [None, "residual"])
def test_uniform_distribution_on_a_learned_torus(constraints):
    # E cos phi = r / 2R = 1/4 and the area is 4 pi^2 R r, by quadrature on the learned manifold
    M = tg.Torus(1.0, 0.5)
    x = uniform(M, 4000, 0)
    N = NeuralImplicit(2, 3, constraints)
    tg.fit(N, x)
    atlas = tg.ProjectedAtlas(N)
    tg.fit(atlas, x)
    nodes = atlas.quadrature(24)
    # Gauss and Bonnet; and not because K = 0: on a ring torus the integral of |K| is 8 pi
    K = N.gauss_curvature(nodes.points)
    assert abs(float(nodes.weights @ K)) / (2 * math.pi) < 0.01
    assert abs(float(nodes.weights @ K.abs()) / (8 * math.pi) - 1) < 0.01
    rho = nodes.points[:, :2].norm(dim=-1) - 1
    cos = rho / torch.hypot(rho, nodes.points[:, 2])
    area = float(nodes.weights.sum())
    assert abs(area / (4 * math.pi**2 * 0.5) - 1) < 1e-3
    assert abs(float(nodes.weights @ cos) / area - 0.25) < 5e-4
