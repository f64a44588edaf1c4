"""Chains and derivatives on a torus that a network learned, in both forms.

Area, E cos phi and total curvature by quadrature are in test_neural_implicit.py, a union and an
intersection of learned spheres in tests/manifolds/operations/test_union.py.

Chains are compared at 3 standard errors over independent chains: a right sampler misses that with
probability .0027 each (seeds are fixed).
"""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

import topogen as tg
from topogen.sampling import Plan, random_walk

pytestmark = pytest.mark.slow

R, r = 1.0, 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cos_phi(x: Tensor) -> Tensor:
    """The cosine of the angle around the tube, whose mean is r / 2R."""
    rho = x[..., :2].norm(dim=-1) - R
    return rho / torch.hypot(rho, x[..., 2])


@pytest.fixture(scope="module", params=[None, "residual"])
def torus(request) -> tg.NeuralImplicit:
    x = tg.Torus(R, r).sample_uniform(4000, generator=seeded())
    N = tg.NeuralImplicit(2, 3, request.param)
    assert tg.fit(N, x, progress=False).status == "converged"
    return N


def test_the_random_walk_is_uniform(torus) -> None:
    chains = 1500
    start = tg.Torus(R, r).sample_uniform(chains, generator=seeded(1))
    plan = Plan(step=0.5, chains=chains, start=start, warmup=15)
    result = random_walk(torus, n=30, seed=0, plan=plan)
    assert float(torus.residual(result.points).max()) < 1e-8
    assert bool(torus.in_domain(result.points).all())
    value, error = result.mean(cos_phi)
    assert float(error) < 0.012  # .03 is what is wrong without the reverse check
    assert abs(float(value) - r / (2 * R)) < 3 * float(error)
    x = result.samples[:, -1]  # one draw of each chain, independent of one another
    c = cos_phi(x)
    assert abs(float(c.mean()) - r / (2 * R)) < 3 * float(c.std()) / math.sqrt(len(c))


@pytest.mark.parametrize("solver", ["project", "nearest"])
def test_derivatives_with_respect_to_the_weights(torus, solver: str) -> None:
    """d/dt of where points go as all weights move along a random direction, twice."""
    N = copy.deepcopy(torus)
    parameters = list(N.net.requires_grad_(True).parameters())
    x = tg.Torus(R, r).sample_uniform(20, generator=seeded(2))
    x = x + 0.05 * torch.randn(x.shape, generator=seeded(3), dtype=x.dtype)
    weights = torch.randn(x.shape, generator=seeded(4), dtype=x.dtype)
    g = seeded(5)
    along = [
        torch.randn(p.shape, generator=g, dtype=p.dtype) * p.detach().std() for p in parameters
    ]

    def value() -> Tensor:
        p = getattr(N, solver)(x, tol=1e-13)
        assert bool(p.converged.all())
        return (weights * p.value).sum()

    gradient = torch.autograd.grad(value(), parameters, allow_unused=True)
    found = sum(
        float((d * v).sum()) for d, v in zip(gradient, along, strict=True) if d is not None
    )
    h, ends = 1e-7, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, v in zip(parameters, along, strict=True):
                p += sign * h * v
            ends.append(float(value()))
            for p, v in zip(parameters, along, strict=True):
                p -= sign * h * v
    assert found == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-4)
