"""The evidence of a penalty: its value, its gradient, and what it chooses."""

import math

import pytest
import torch

from topogen.models.injective.base_distributions import SpectralDistribution
from topogen.models.injective.bases import Spectrum, standard
from topogen.models.injective.marginal_likelihood import MarginalLikelihood, posterior_mode


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def evidence_of(b, base, bandwidth):
    spectrum = Spectrum(base, bandwidth)
    live = spectrum.frequency > 0
    nodes, w = base.nodes(4 * bandwidth)
    phi = spectrum(nodes)[:, live]
    mean = spectrum(b)[:, live].mean(0)
    mu = spectrum.eigenvalues[live]
    return MarginalLikelihood(phi, w, mean, mu, len(b), base.dim)


def wave(n, seed=0):
    """Points of T^2 whose distribution, 1 + .9 cos(3 u), depends on one angle."""
    g = seeded(seed)
    t = 2 * math.pi * torch.rand(4 * n, 2, generator=g, dtype=torch.float64)
    u = 1.9 * torch.rand(4 * n, generator=g, dtype=torch.float64)
    t = t[u < 1 + 0.9 * (3 * t[:, 0]).cos()][:n]
    assert len(t) == n
    return torch.cat([t.cos(), t.sin()], -1)[:, [0, 2, 1, 3]]


def test_value_is_the_integral_over_all_coefficients():
    n, lam = 400, 0.05
    base = standard("circle")
    t = 0.9 * torch.randn(n, generator=seeded(), dtype=torch.float64)
    found = evidence_of(torch.stack([t.cos(), t.sin()], -1), base, 1)
    assert found.mu.tolist() == [[1.0], [1.0]]
    value, _, _, a, done = found(torch.tensor([math.log(lam)]).double(), 1.0)
    assert done
    # the two coefficients within eight standard deviations of their mode
    grid = torch.linspace(-0.6, 0.6, 401, dtype=torch.float64)
    c = a + torch.cartesian_prod(grid, grid)
    log_z = (found.phi @ c.T + found.w.log()[:, None]).logsumexp(0)
    log_prior = -0.5 * n * lam * c.square().sum(1) + math.log(n * lam / (2 * math.pi))
    whole = (n * (c @ found.mean - log_z) + log_prior).logsumexp(0) + 2 * (grid[1] - grid[0]).log()
    # the error of Laplace's approximation is of the order 1 / n
    assert value == pytest.approx(float(whole), abs=4 / n)


@pytest.mark.parametrize("name", ["torus", "klein", "sphere"])
def test_gradient_is_that_of_the_value(name):
    base = standard(name)
    b = base.sample(3000, generator=seeded())
    b = b[torch.rand(len(b), generator=seeded(1)) < 0.5 + 0.4 * b[:, 0] * b[:, -1]]
    found = evidence_of(b, base, 4)
    F = found.mu.shape[1]
    z = torch.tensor([*[-2.0, -0.7][:F], 1.7], dtype=torch.float64)
    _, by_scale, by_power, _, _ = found(z[:-1], float(z[-1]))
    for k, slope in enumerate([*by_scale.tolist(), by_power]):
        h = 1e-3 * torch.eye(len(z), dtype=torch.float64)[k]
        up, down = (found((z + s * h)[:-1], float((z + s * h)[-1]))[0] for s in (1, -1))
        assert (up - down) / 2e-3 == pytest.approx(slope, rel=1e-4, abs=1e-3)


@pytest.mark.slow
def test_a_distribution_of_one_angle_has_scales_of_its_own():
    base = standard("torus")
    b = wave(2000)
    distribution = SpectralDistribution(base, 8)
    records = list(distribution.fit(b, seeded(1)))
    assert records[-1]["tried"] < 60
    rough, smooth = distribution.log_c
    # an anisotropy of e^2 at the least
    assert smooth > rough + 2
    # against one scale for both: fewer functions are left for noise
    fresh = wave(20_000, 5)
    angle = torch.atan2(fresh[:, 1], fresh[:, 0])
    log_p = (1 + 0.9 * (3 * angle).cos()).log() - math.log(4 * math.pi**2)
    own = float((log_p - distribution.log_prob(fresh)).mean())
    found = evidence_of(b, base, 8)
    values = {
        c: found(torch.full((2,), c).double(), distribution.power) for c in (-6.0, -4.0, -2.0, 0.0)
    }
    best = max(values.values(), key=lambda v: v[0])
    assert best[0] / len(b) < -records[-1]["loss"]
    distribution.coefficients[distribution.spectrum.frequency > 0] = best[3]
    distribution.normalise()
    one = float((log_p - distribution.log_prob(fresh)).mean())
    assert own < one / 1.5
    # the negative control: exchanged angles exchange the scales
    list(distribution.fit(b[:, [2, 3, 0, 1]], seeded(1)))
    assert distribution.log_c[0] > distribution.log_c[1] + 2


def test_the_mode_has_no_slope():
    base = standard("sphere")
    b = base.sample(500, generator=seeded())
    found = evidence_of(b[b[:, 2] > -0.5], base, 5)
    lam = 0.01 * found.mu.sum(1)
    a, nll, H, done = posterior_mode(
        torch.zeros_like(found.mean), found.phi, found.w, found.mean, lam
    )
    assert done
    a = a.requires_grad_()
    loss = (found.phi @ a + found.w.log()).logsumexp(0) - a @ found.mean
    assert loss.item() == pytest.approx(nll, abs=1e-9)
    (slope,) = torch.autograd.grad(loss + 0.5 * lam @ a.square(), a)
    assert float(slope.abs().max()) < 1e-5
    assert bool((torch.linalg.eigvalsh(H) > 0).all())
