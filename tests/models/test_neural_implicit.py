import pytest
import torch

import topogen as tg
from topogen import calculus
from topogen.models.implicit import NeuralImplicit


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module", params=[None, "residual"])
def torus(request):
    """A ring torus learned in the regular and in the residual form, and the truth."""
    M = tg.Torus(1.0, 0.5)
    N = NeuralImplicit(2, 3, request.param, steps=1000, features=300)
    result = tg.fit(N, uniform(M, 3000, 0))
    return N, M, result


def test_known_answers(torus):
    N, M, result = torus
    assert result.status == "converged"
    y = uniform(M, 1000, 1)
    p = N.project(y)
    assert bool(p.converged.all())
    assert bool(N.guard(y).all())
    assert float((p.value - y).norm(dim=-1).median()) < 2e-3
    assert bool(N.contains(p.value).all())


def test_laws(torus):
    tg.testing.check_manifold(torus[0])


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


def test_the_closed_form_is_the_derivative(torus):
    N, M, _ = torus
    x = 1.01 * uniform(M, 50, 3)
    E, DE = N.linearize(x)
    assert torch.allclose(E, N.equations(x), atol=1e-12)
    assert torch.allclose(DE, calculus.jacobian(N.equations, x), atol=1e-10)
    s = torch.linalg.svdvals(N.linearize(N.project(x).value)[1])
    assert float(s[:, 0].min()) > 0.8
    assert s.shape[1] == 1 or float(s[:, 1:].max()) < 1e-9  # rank D - d, exactly


def test_saved_and_loaded(torus, tmp_path):
    N, M, _ = torus
    tg.save(N, tmp_path / "m.safetensors")
    L = tg.load(tmp_path / "m.safetensors")
    x = 1.01 * uniform(M, 50, 4)
    assert torch.equal(L.project(x).value, N.project(x).value)
    assert (L.form, L.checks, L.tolerance) == (N.form, N.checks, N.tolerance)
