"""Sets above dimension 3 that do not know their volume: log Z is estimated all the same."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.energy import EnergyModel
from topogen.models.energy.reference_measure import find_measure

VOLUME = 8 * math.pi**2 / 3  # of S^4, 26.319


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def quadric(x):
    return (x * x).sum(-1, keepdim=True) - 1


def known_only_by_its_equation():
    return tg.ImplicitManifold(quadric, 4, 5)


def draws(n, kappa, seed):
    """Points of the distribution exp(kappa x_1) / Z on S^4, by rejection."""
    g = seeded(seed)
    x = tg.Sphere(4).sample_uniform(20 * n, g).double()
    kept = torch.rand(x.shape[0], generator=g) < (kappa * (x[:, 0] - 1)).exp()
    return x[kept][:n]


def log_z(kappa):
    """Of exp(kappa x_1) on S^4: the density of x_1 is |S^3| (1 - c^2), |S^3| = 2 pi^2."""
    from scipy.integrate import quad

    return math.log(2 * math.pi**2 * quad(lambda c: math.exp(kappa * c) * (1 - c * c), -1, 1)[0])


def check(model, kappa):
    distribution = model()
    assert distribution.likelihood == "estimated"
    assert 0 < distribution.log_z_error < 0.1
    y = draws(3000, kappa, seed=1)
    truth = kappa * y[:, 0] - log_z(kappa)
    found = distribution.log_prob(model.manifold.project(y).value)
    assert abs(float((found - truth).mean())) < 3 * distribution.log_z_error + 0.05


@pytest.mark.parametrize("D", [5, pytest.param(6, marks=pytest.mark.slow)])
def test_lines_and_tube_measure_a_sphere(D):
    """S^4 in R^5 by lines, in R^6 by its tube; a false alarm of either has probability 1e-4."""

    def F(x):
        return torch.cat([quadric(x[..., :5]), x[..., 5:]], -1)

    M = tg.ImplicitManifold(F, 4, D)
    x = torch.nn.functional.pad(tg.Sphere(4).sample_uniform(2000, seeded(0)).double(), (0, D - 5))
    found = find_measure(M, x, seeded(1))
    assert abs(found.volume - VOLUME) < 2 * found.error < 0.2 * VOLUME
    n = found.effective
    assert n <= found.points.shape[0]
    assert float(found.points.mean(0).abs().max()) < 4.5 / math.sqrt(5 * n)
    second = (found.points[:, :5].square().mean(0) - 0.2).abs().max()
    assert float(second) < 4.5 * math.sqrt(3 / 35 - 0.04) / math.sqrt(n)
    one, two = found.halves()
    assert one.points.shape[0] + two.points.shape[0] == found.points.shape[0]


def test_high_codimension_has_no_volume():
    def F(x):
        return torch.cat([quadric(x[..., :5]), x[..., 5:]], -1)

    M = tg.ImplicitManifold(F, 4, 12)
    x = torch.nn.functional.pad(tg.Sphere(4).sample_uniform(100, seeded(0)).double(), (0, 7))
    with pytest.raises(UnsupportedError, match="codimension"):
        find_measure(M, x, seeded(1))


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["nce", "maximum_likelihood", "score"])
def test_log_z_of_a_set_known_by_its_equation(objective, tmp_path):
    model = EnergyModel(known_only_by_its_equation(), objective=objective, networks=2)
    tg.fit(model, draws(3000, 2.0, seed=0))
    check(model, 2.0)
    assert model.remark == ""


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_log_z_of_a_learned_sphere(kappa, tmp_path):
    model = EnergyModel(tg.NeuralImplicit(4, 5))
    tg.fit(model, draws(4000, kappa, seed=0))
    check(model, kappa)
    tg.save(model, tmp_path / "m.safetensors")
    again = tg.load(tmp_path / "m.safetensors")()
    assert float(again.log_z) == float(model().log_z)
    assert again.likelihood == "estimated"


@pytest.mark.slow
def test_without_a_volume_the_reason_is_given(monkeypatch):
    def refuse(M, points, generator):
        raise UnsupportedError("no lines, no tube")

    monkeypatch.setattr("topogen.models.energy.energy_model.find_measure", refuse)
    model = EnergyModel(known_only_by_its_equation(), networks=1)
    with pytest.warns(UserWarning, match=r"unnormalized.*no lines, no tube"):
        tg.fit(model, draws(500, 0.0, seed=0), steps=20)
    assert "no lines, no tube" in model.remark
    assert model().likelihood == "unnormalized"
