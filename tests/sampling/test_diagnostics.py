"""R-hat and effective sample sizes, against autoregressive processes of known length."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from topogen.errors import InvalidPoints
from topogen.sampling import diagnose


def autoregressive(rho: float, chains: int, n: int, seed: int = 0) -> Tensor:
    """Stationary x_t = rho x_{t-1} + e_t of variance 1, shape (chains, n)."""
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(n, chains, generator=generator, dtype=torch.float64)
    x = [e[0]]
    for t in range(1, n):
        x.append(rho * x[-1] + math.sqrt(1 - rho**2) * e[t])
    return torch.stack(x, 1)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_an_autoregressive_process(rho: float) -> None:
    chains, n = 16, 4000
    found = diagnose(autoregressive(rho, chains, n).unsqueeze(-1))
    truth = chains * n * (1 - rho) / (1 + rho)
    # the relative error of the estimate is about 5 % here
    assert abs(float(found.ess_bulk) / truth - 1) < 0.2
    assert float(found.rhat) < 1.02
    # an indicator of a tail forgets faster than x, and an antithetic one is no longer that
    assert min(truth, chains * n) * 0.8 < float(found.ess_tail) < 1.2 * chains * n


def test_agrees_with_published_values() -> None:
    """Pinned numbers of arviz-stats 0.8.0 (methods rank, bulk, tail) on the same draws."""
    x = autoregressive(0.5, 4, 1000, seed=1)
    found = diagnose(x.unsqueeze(-1))
    expected = torch.tensor(
        [1.0027880853887505, 1384.390653646422, 2434.0368475834657], dtype=torch.float64
    )
    got = torch.stack([found.rhat, found.ess_bulk, found.ess_tail], -1)
    torch.testing.assert_close(got[0], expected, rtol=1e-6, atol=0)


def test_rank_normalisation_ignores_monotone_maps_and_heavy_tails() -> None:
    x = autoregressive(0.3, 8, 500)
    plain, bent = (diagnose(y.unsqueeze(-1)) for y in (x, torch.tan(1.57 * torch.erf(x))))
    torch.testing.assert_close(plain.ess_bulk, bent.ess_bulk)
    torch.testing.assert_close(plain.ess_tail, bent.ess_tail)


def test_chains_that_differ_are_seen() -> None:
    x = autoregressive(0.3, 4, 500)
    place, spread = x.clone(), x.clone()
    place[0] += 2
    spread[0] *= 4  # same mean: only the folded statistic sees it
    trend = x + torch.linspace(-1.5, 1.5, 500, dtype=torch.float64)  # only split chains see it
    stacked = diagnose(torch.stack([x, place, spread, trend], -1))
    assert float(stacked.rhat[0]) < 1.02
    assert float(stacked.rhat[1:].min()) > 1.1


def test_statistics_do_not_affect_one_another() -> None:
    x = torch.stack([autoregressive(r, 4, 200, seed=3) for r in (0.0, 0.8)], -1)
    both = diagnose(x)
    for i in (0, 1):
        alone = diagnose(x[..., i : i + 1])
        torch.testing.assert_close(both.rhat[i : i + 1], alone.rhat, rtol=0, atol=0)
        torch.testing.assert_close(both.ess_bulk[i : i + 1], alone.ess_bulk)


def test_degenerate_draws_give_nan_or_infinity_never_a_healthy_number() -> None:
    constant = torch.zeros(4, 50, 1, dtype=torch.float64)
    for draws in (constant, torch.full_like(constant, math.nan)):
        for value in vars(diagnose(draws)).values():
            assert bool(value.isnan().all())
    stuck = torch.arange(4.0, dtype=torch.float64)[:, None, None].expand(4, 50, 1)
    assert float(diagnose(stuck).rhat) == math.inf
    short = diagnose(torch.randn(4, 3, 2))
    assert bool(short.rhat.isnan().all() & short.ess_bulk.isnan().all())
    spoilt = torch.randn(4, 50, 2, dtype=torch.float64)
    spoilt[0, 0, 0] = math.nan
    found = diagnose(spoilt)
    assert bool(found.rhat[0].isnan())
    assert bool(found.rhat[1].isfinite())
    # the tests' own check of shapes comes first
    with pytest.raises((InvalidPoints, TypeError)):
        diagnose(torch.randn(4, 50))
