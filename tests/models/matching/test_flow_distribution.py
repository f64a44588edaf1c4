"""Flows of fields that are known: divergence, push-forward densities, failures."""

import math

import pytest
import torch

import topogen as tg
from topogen.manifolds import curvature
from topogen.models.matching import FlowDistribution, divergence, flow
from topogen.sampling.chains import SamplingError

SPACES = {
    "circle": lambda: tg.Circle(2.0),
    "sphere": lambda: tg.Sphere(radius=1.5),
    "S^3": lambda: tg.Sphere(3),
    "flat torus": tg.FlatTorus,
    "torus": tg.Torus,
    "klein": tg.KleinBottle,
    "projective": tg.ProjectivePlane,
    "rotations": tg.SpecialOrthogonal,
    "implicit": lambda: tg.ImplicitManifold(tg.Torus().defining, 2, 3),
}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def points(M, n, seed=0):
    space = M if M.has_sampler else tg.Torus()
    return space.sample_uniform(n, seeded(seed))


def waves(D, seed=1):
    """A smooth ambient field that is tangent to nothing."""
    W = torch.randn(D, D, generator=seeded(seed), dtype=torch.float64)
    b = torch.randn(D, generator=seeded(seed + 1), dtype=torch.float64)
    return lambda x, t: torch.tanh(x @ W + b * t.unsqueeze(-1))


def push_along(c):
    """The gradient of c z on the unit sphere; only its tangential part counts."""
    return lambda x, t: torch.tensor([0.0, 0.0, c], dtype=x.dtype).expand(x.shape)


@pytest.mark.parametrize("name", SPACES)
def test_the_divergence_is_that_of_differences_along_m(name):
    M = SPACES[name]()
    f = waves(M.ambient_dim)
    x = points(M, 50)
    t = torch.rand(50, generator=seeded(3), dtype=torch.float64)
    v, div = divergence(M, f, x, t)
    Q, H = M.tangent_basis(x), M.dim * M.mean_curvature(x)
    assert float((v - (Q @ (Q.mT @ v.unsqueeze(-1))).squeeze(-1)).abs().max()) < 1e-12
    II = curvature.second_fundamental_form(M, x)
    torch.testing.assert_close(H, II.diagonal(dim1=-3, dim2=-2).sum(-1), atol=1e-10, rtol=1e-10)
    total = torch.zeros_like(div)
    for i in range(M.dim):
        sides = []
        for h in (1e-5, -1e-5):
            y = M.project(x + h * Q[..., i]).value
            B = M.tangent_basis(y)
            sides.append((B @ (B.mT @ f(y, t).unsqueeze(-1))).squeeze(-1))
        total += ((sides[0] - sides[1]) / 2e-5 * Q[..., i]).sum(-1)
    torch.testing.assert_close(div, total, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_divergence_of_a_constant_on_the_sphere(d):
    """div (P a) = -d a.x on the unit sphere."""
    M = tg.Sphere(d)
    x = points(M, 20)
    a = torch.arange(1.0, d + 2.0).double()
    _, div = divergence(M, lambda x, t: a.expand(x.shape), x, x[:, 0])
    torch.testing.assert_close(div, -d * (x @ a), atol=1e-12, rtol=1e-9)


def test_a_rotation_keeps_the_uniform_distribution():
    A = torch.tensor([[0.0, -1.0, 0.5], [1.0, 0.0, -1.5], [-0.5, 1.5, 0.0]], dtype=torch.float64)
    distribution = FlowDistribution(
        tg.Uniform(tg.Sphere()), lambda x, t: x @ A.mT, tol=1e-7, error=0.0
    )
    x = points(tg.Sphere(), 20)
    value = distribution.log_prob(x)
    assert float((value + math.log(4 * math.pi)).abs().max()) < 1e-6
    # and the way back is the rotation by -A
    back = distribution.pull_back(x).end
    torch.testing.assert_close(back, x @ torch.linalg.matrix_exp(-A).mT, atol=1e-6, rtol=0.0)


@pytest.mark.slow
def test_the_flow_of_a_linear_function_on_the_sphere():
    """Heights follow z' = c (1 - z^2): p = (1 - z_0^2) / (1 - z^2) / 4 pi, artanh z_0 = .. - c."""
    c = 1.3
    distribution = FlowDistribution(tg.Uniform(tg.Sphere()), push_along(c), tol=1e-7, error=0.0)
    x = points(tg.Sphere(), 40)
    z = x[:, 2]
    z0 = torch.tanh(torch.atanh(z) - c)
    expected = ((1 - z0**2) / (1 - z**2)).log() - math.log(4 * math.pi)
    assert float((distribution.log_prob(x) - expected).abs().max()) < 1e-5
    # at the default tolerance, what is claimed holds
    distribution = FlowDistribution(tg.Uniform(tg.Sphere()), push_along(c))
    assert (
        float((distribution.log_prob(x) - expected).abs().max())
        < 10 * distribution.log_z_error
        < 1e-3
    )
    drawn = distribution.sample((2000,), seeded())
    coth = 1 / math.tanh(2 * c)
    # E z over the push-forward of uniform z_0
    s = torch.linspace(-1, 1, 200_001, dtype=torch.float64)[1:-1]
    mean = float(torch.tanh(torch.atanh(s) + c).mean())
    assert coth > mean == pytest.approx(float(drawn[:, 2].mean()), abs=0.04)


def test_the_gradient_is_that_of_the_density():
    """Of the flow of a linear function: p is known, and depends on z alone."""
    c = 1.3
    distribution = FlowDistribution(tg.Uniform(tg.Sphere()), push_along(c), error=0.0)
    x = points(tg.Sphere(), 8).requires_grad_()
    z = x[:, 2] / x.norm(dim=-1)
    known = ((1 - torch.tanh(torch.atanh(z) - c) ** 2) / (1 - z**2)).log()
    (expected,) = torch.autograd.grad(known.sum(), x)
    (got,) = torch.autograd.grad(distribution.log_prob(x).sum(), x)
    # an integration to 1e-5 nats
    assert float((got - expected).abs().max()) < 1e-4
    assert float((got * x.detach()).sum(-1).abs().max()) < 1e-12


@pytest.mark.slow
def test_order_five_and_rows_alone():
    M, f = tg.Sphere(), waves(3)
    x = points(tg.Sphere(), 10)
    errors = []
    fine = flow(M, f, x, 1.0, 0.0, tol=1e-9)
    for tol in (1e-4, 1e-6):
        r = flow(M, f, x, 1.0, 0.0, tol=tol)
        errors.append(float((r.divergence - fine.divergence).abs().max()))
        assert bool(r.converged.all())
        assert float(tg.Sphere().residual(r.end).max()) < 1e-12
    assert errors[0] < 1e-2
    assert errors[1] < errors[0] / 20
    alone = [flow(M, f, x[i : i + 1], 1.0, 0.0, tol=1e-4).divergence for i in (0, 1)]
    together = flow(M, f, x, 1.0, 0.0, tol=1e-4).divergence
    assert float((torch.cat(alone) - together[:2]).abs().max()) < 1e-11


@pytest.mark.slow
def test_the_distribution_obeys_the_laws():
    tg.testing.check_distribution(
        FlowDistribution(tg.Uniform(tg.Sphere()), push_along(1.0), validate_args=False), seeded()
    )


def test_another_base_distribution():
    """A rotation by 90 degrees about z moves the mean of a von Mises-Fisher distribution."""
    spin = lambda x, t: math.pi / 2 * torch.stack([-x[:, 1], x[:, 0], 0 * x[:, 2]], -1)
    base = tg.VonMisesFisher([1.0, 0.0, 0.0], 5.0, validate_args=False)
    distribution = FlowDistribution(base, spin, tol=1e-7, error=0.0)
    x = points(tg.Sphere(), 30)
    moved = tg.VonMisesFisher([0.0, 1.0, 0.0], 5.0, validate_args=False)
    torch.testing.assert_close(distribution.log_prob(x), moved.log_prob(x), atol=1e-6, rtol=0.0)


@pytest.mark.slow
def test_failures_have_a_status_and_are_never_a_number():
    def broken(x, t):
        """Infinite on the upper half of the sphere."""
        return torch.where(x[:, 2:] > 0, math.inf, 0.1).expand(x.shape)

    distribution = FlowDistribution(
        tg.Uniform(tg.Sphere()), broken, error=0.0, validate_args=False
    )
    x = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, -0.8], [0.0, 0.0, 2.0]], dtype=torch.float64)
    value = distribution.log_prob(x)
    assert bool(value[0].isnan())
    assert bool(value[1].isfinite())
    assert value[2] == -math.inf
    back = distribution.pull_back(x[:2])
    assert back.converged.tolist() == [False, True]
    assert bool(back.end[0].isnan().all())
    with pytest.raises(SamplingError, match="lost in it"):
        distribution.sample((50,), seeded())
    measured = FlowDistribution(tg.Uniform(tg.Sphere()), broken)
    assert measured.likelihood == "estimated"
    assert measured.log_z_error == math.inf
    with pytest.raises(ValueError, match="expected tol > 0"):
        FlowDistribution(tg.Uniform(tg.Sphere()), broken, tol=0.0)
