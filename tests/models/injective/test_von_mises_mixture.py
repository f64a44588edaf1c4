"""VonMisesMixture: known distributions are found, normalised, sampled, and saved."""

import math

import pytest
import torch

import topogen as tg
from topogen import serialization
from topogen.errors import InvalidPoints, UnsupportedError
from topogen.models.injective import InjectiveFlow, VonMisesMixture
from topogen.models.injective.bases import standard
from topogen.models.injective.von_mises_mixture import SIZES


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(distribution, b, seed=0):
    records = list(distribution.fit(b, seeded(seed)))
    assert distribution.fitted
    assert all(math.isfinite(r["loss"]) for r in records)
    return distribution


def known_distribution(name, size, concentration, seed=0):
    distribution = VonMisesMixture(standard(name), (size,))
    eta = torch.randn(size, distribution.base.width, generator=seeded(seed), dtype=torch.float64)
    weights = torch.arange(1.0, size + 1, dtype=torch.float64)
    distribution.set_parameters(concentration * eta, (weights / weights.sum()).log())
    distribution.fitted = True
    return distribution


def mass(distribution, degree):
    b, w = distribution.base.nodes(degree)
    return float(distribution.base.volume * (w @ distribution.log_prob(b).exp()))


BASES = ["circle", "torus", "sphere", "klein", "projective", "cylinder", "mobius"]


@pytest.mark.parametrize("name", BASES)
def test_mass_moments_and_group(name):
    distribution = known_distribution(name, 3, 2.0)
    assert mass(distribution, 40) == pytest.approx(1, abs=1e-10)
    assert distribution.log_z_error == 0
    b, w = distribution.base.nodes(40)
    f = lambda b: torch.cat([b**2, (b**2).roll(1, -1) * b**2], -1)  # functions on the quotients
    mean = (distribution.base.volume * w * distribution.log_prob(b).exp()) @ f(b)
    x = distribution.sample(5000, seeded(1))
    torch.testing.assert_close(distribution.base.retract(x), x, atol=1e-12, rtol=0)
    error = (f(x).mean(0) - mean).abs()
    # 4 standard errors of at most 8 functions on 7 bases: a false alarm in 280
    assert bool((error <= 4 * f(x).std(0) / math.sqrt(5000) + 1e-9).all())
    for image in distribution.base.orbit(x[:100]):
        torch.testing.assert_close(distribution.log_prob(image), distribution.log_prob(x[:100]))
    assert torch.equal(distribution.sample(5, seeded(2)), distribution.sample(5, seeded(2)))
    assert distribution.sample(0, seeded(2)).shape == (0, distribution.base.width)


@pytest.mark.parametrize("name", BASES)
def test_a_known_distribution_is_recovered(name):
    true = known_distribution(name, 1, 2.0, seed=3)
    distribution = fitted(VonMisesMixture(true.base), true.sample(4000, seeded(1)))
    assert mass(distribution, 40) == pytest.approx(1, abs=1e-9)
    b = true.sample(4000, seeded(2))
    d = true.log_prob(b) - distribution.log_prob(b)
    error = float(d.std()) / math.sqrt(len(b))
    # at most 4 numbers are fitted: the excess is 4 / 2n; a false alarm in 700
    assert -3 * error <= float(d.mean()) <= 4 / 8000 + 3 * error


@pytest.mark.parametrize(
    ("distribution", "name", "entropy"),
    [
        (tg.VonMises(0.3, 3.0), "circle", 0.993228806353252),
        (tg.VonMisesFisher([0.0, 0.6, 0.8], 10.0), "sphere", 0.535291930131072),
    ],
)
def test_entropies(distribution, name, entropy):
    model = fitted(VonMisesMixture(standard(name)), distribution.sample((8000,), seeded(1)))
    assert float(model.eta.norm()) == pytest.approx(distribution.concentration, rel=0.06)
    nll = -model.log_prob(distribution.sample((4000,), seeded(2)))
    # a false alarm in 370
    assert abs(float(nll.mean()) - entropy) < 3 * float(nll.std()) / math.sqrt(4000) + 0.003


@pytest.mark.parametrize("concentration", [0.0, 1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("dim", [1, 2, 3])
def test_constants_are_those_of_the_known_distributions(dim, concentration):
    mu = torch.ones(dim + 1, dtype=torch.float64) / math.sqrt(dim + 1)
    distribution = VonMisesMixture(standard("sphere", dim))
    distribution.set_parameters(concentration * mu.unsqueeze(0), torch.zeros(1).double())
    x = distribution.base.sample(20, generator=seeded())
    expected = tg.VonMisesFisher(mu, concentration)._log_prob(x)
    torch.testing.assert_close(distribution.log_prob(x), expected, atol=1e-9, rtol=1e-12)


@pytest.mark.slow
def test_a_mixture_has_the_size_it_needs():
    true = known_distribution("torus", 4, 4.0, seed=5)
    distribution = fitted(VonMisesMixture(true.base, SIZES), true.sample(6000, seeded(1)))
    assert 3 <= len(distribution.eta) <= 16
    b = true.sample(4000, seeded(2))
    d = true.log_prob(b) - distribution.log_prob(b)
    assert float(d.mean()) < 0.02
    assert mass(distribution, 60) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_four_modes_on_the_sphere():
    means = [[1.0, 0.3, 0.2], [-0.7, 0.9, 0.0], [0.1, -1.0, 0.6], [-0.4, 0.0, -1.0]]
    true = tg.Mixture([1.0] * 4, [tg.VonMisesFisher(m, 10.0) for m in means])
    distribution = fitted(
        VonMisesMixture(standard("sphere"), SIZES), true.sample((8000,), seeded(1))
    )
    b = true.sample((4000,), seeded(2))
    d = true.log_prob(b) - distribution.log_prob(b)
    # 15 numbers are fitted: the excess is about 15 / 2n; 3 standard errors, a false alarm in 700
    assert float(d.mean()) < 15 / 16_000 + 0.002 + 3 * float(d.std()) / math.sqrt(4000)
    assert len(distribution.eta) == 4


def test_repeated_points_do_not_collapse_it():
    b = torch.tensor([[1.0, 0.0]]).double().repeat(200, 1)
    distribution = fitted(VonMisesMixture(standard("circle"), (1, 2)), b)
    assert bool(distribution.log_prob(b).isfinite().all())
    assert float(distribution.eta.norm(dim=-1).max()) < 200


@pytest.mark.slow
@pytest.mark.parametrize("density", ["von_mises", "mixture"])
def test_flows_with_it(density, tmp_path):
    true = tg.VonMises(0.3, 1.0)
    x, fresh = true.sample((3000,), seeded(1)), true.sample((4000,), seeded(2))
    flow = InjectiveFlow(1, 2, "circle", density=density)
    assert tg.fit(flow, x).status == "converged"
    distribution = flow()
    assert distribution.likelihood == "exact"
    d = true.log_prob(fresh) - distribution.log_prob(fresh)
    assert abs(float(d.mean())) < 0.01
    serialization.write(tmp_path / "m.safetensors", flow)
    loaded, _ = serialization.read(tmp_path / "m.safetensors")
    torch.testing.assert_close(loaded().log_prob(fresh), distribution.log_prob(fresh))
    same = [f().sample((9,), generator=seeded(3)) for f in (flow, loaded)]
    torch.testing.assert_close(*same)
    tg.testing.check_distribution(distribution, n=1000)


def test_what_is_refused():
    with pytest.raises(UnsupportedError, match="without lines"):
        VonMisesMixture(standard("euclidean", 1))
    with pytest.raises(InvalidPoints, match="at least 20"):
        list(VonMisesMixture(standard("circle")).fit(torch.ones(3, 2).double(), seeded()))
