"""Estimates of log Z agree with closed forms, with quadrature and with one another."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.energy import (
    ChainedEnergy,
    EnergyModel,
    bridge,
    estimate_log_z,
    importance,
    thermodynamic,
)
from topogen.testing import check_distribution

KAPPA = 5.0
EXACT = math.log(4 * math.pi * math.sinh(KAPPA) / KAPPA)  # 5.22839


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draws(n, seed):
    u = tg.Sphere().sample_uniform(n, seeded(seed))
    x = tg.VonMisesFisher([0.0, 0.0, 1.0], KAPPA).sample((n,), seeded(seed + 1000))
    return KAPPA * u[:, 2], KAPPA * x[:, 2]


@pytest.mark.slow
def test_intervals_hold_the_truth():
    """60 repetitions: the standardised errors have the spread of a standard normal.

    |z| > 2 in more than 9 of 60 has probability .002 under the distribution stated.
    """
    volume = 4 * math.pi
    for estimate in (
        lambda u, p: importance(u, volume),
        lambda u, p: bridge(u, p, volume),
    ):
        z = []
        for seed in range(60):
            found = estimate(*draws(1000, seed))
            z.append((found.value - EXACT) / found.error)
        z = torch.tensor(z)
        assert int((z.abs() > 2).sum()) <= 9
        assert float(z.std()) == pytest.approx(1, abs=0.35)
        assert abs(float(z.mean())) < 0.6


def test_bridge_beats_importance():
    u, p = draws(4000, 0)
    volume = 4 * math.pi
    assert bridge(u, p, volume).error < importance(u, volume).error
    few = bridge(u, p, volume, effective=(400.0, 400.0))
    assert few.error > bridge(u, p, volume).error
    vague = bridge(u, p, volume, volume_error=0.1 * volume)
    assert vague.error > 0.09


def test_importance_knows_when_it_fails():
    """Concentration 2000: no uniform draw comes near the mode, and the error says so."""
    u = 2000 * tg.Sphere().sample_uniform(300, seeded(0))[:, 2]
    assert importance(u, 4 * math.pi).error == math.inf


def test_thermodynamic_integration():
    def mean_f(t):
        exact = KAPPA / math.tanh(KAPPA * t) - 1 / t
        return exact, 0.01

    found = thermodynamic(mean_f, 4 * math.pi)
    assert found.value == pytest.approx(EXACT, abs=1e-4)
    assert 0.003 < found.error < 0.01
    # a kink that the rules do not resolve is part of the error
    kink = thermodynamic(lambda t: (float(t > 0.501) * 100, 0.0), 1.0)
    assert kink.error > abs(kink.value - 49.9) / 4


def test_methods_agree_on_a_learned_distribution():
    """Each within 4 of its standard errors of quadrature: false alarms below 2e-4."""
    x = tg.VonMises(0.0, 2.0).sample((500,), seeded(0))
    model = EnergyModel(tg.Circle(), objective="maximum_likelihood", networks=2)
    tg.fit(model, x, seed=0)
    exact = model.log_z()
    assert exact.error < 1e-6
    for method in ("importance", "bridge", "thermodynamic"):
        found = model.log_z(method, seed=1)
        assert found.method == method
        assert abs(found.value - exact.value) < 4 * found.error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["bridge", "importance", "thermodynamic"])
def test_by_chains(method):
    start = tg.Sphere().sample_uniform(400, seeded(0))
    found = estimate_log_z(tg.Sphere(), lambda x: KAPPA * x[:, 2], start, method=method, seed=1)
    assert found.method == method
    assert abs(found.value - EXACT) < 4 * found.error
    assert found.error < 0.05


@pytest.mark.slow
def test_above_dimension_three_the_interval_decides():
    """Von Mises-Fisher on S^4: estimated, within its own error of the truth; samples by chains."""
    truth = tg.VonMisesFisher([0.0, 0.0, 0.0, 0.0, 1.0], 3.0)
    x = truth.sample((2000,), seeded(0))
    distribution = ChainedEnergy(tg.Sphere(4), lambda v: 3 * v[..., 4], x, validate_args=False)
    y = truth.sample((100,), seeded(1))
    error = (truth.log_prob(y) - distribution.log_prob(y)).abs().max()
    assert float(error) < 4 * distribution.log_z_error
    assert distribution.likelihood == (
        "exact" if distribution.log_z_error <= 1e-3 else "estimated"
    )
    check_distribution(distribution, seeded(0), n=1000)
    mean = distribution.sample((2000,), seeded(2))[:, 4].mean()
    assert float(mean) == pytest.approx(truth.mean_cosine, abs=4.5 * 0.3 / math.sqrt(2000))

    model = EnergyModel(tg.Sphere(4))
    tg.fit(model, x, seed=0)
    learned = model()
    fresh = truth.sample((5000,), seeded(3))
    assert float((truth.log_prob(fresh) - learned.log_prob(fresh)).mean()) < 0.03
    with pytest.raises(UnsupportedError, match="dimension <= 3"):
        model.log_z()


def test_bad_values_are_refused():
    u, p = draws(100, 0)
    with pytest.raises(ValueError, match="f_uniform"):
        importance(u * math.nan, 1.0)
    with pytest.raises(ValueError, match="draws of another"):
        bridge(u, torch.where(p > p.mean(), p, -math.inf), 1.0)
