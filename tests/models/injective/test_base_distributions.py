"""SpectralDistribution: right distributions are found, normalised, and sampled."""

import math

import pytest
import torch

from topogen.errors import TrainingError
from topogen.models.injective.base_distributions import ImageDistribution, SpectralDistribution
from topogen.models.injective.bases import standard
from topogen.models.injective.image_manifold import ImageManifold


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def fitted(distribution, b, seed=0):
    for _ in distribution.fit(b, seeded(seed)):
        pass
    return distribution


def known_distribution(base, bandwidth, size, seed=0):
    """An exponential family with random coefficients of a given length."""
    distribution = SpectralDistribution(base, bandwidth)
    a = torch.randn(distribution.spectrum.count, generator=seeded(seed), dtype=torch.float64)
    a = torch.where(distribution.spectrum.frequency > 0, a, 0.0)
    distribution.coefficients = size * a / a.norm()
    distribution.normalise()
    distribution.fitted = True
    return distribution


def mass(distribution, degree=70):
    b, w = distribution.base.nodes(degree)
    return float(distribution.base.volume * (w @ distribution.log_prob(b).exp()))


BASES = ["circle", "torus", "sphere", "klein", "projective", "cylinder", "mobius"]


def gap(true, distribution, n=4000, seed=9):
    """Mean of log p* - log q over fresh points, and its standard error."""
    b = true.sample(n, seeded(seed))
    d = true.log_prob(b) - distribution.log_prob(b)
    return float(d.mean()), float(d.std()) / math.sqrt(n)


@pytest.mark.parametrize("name", BASES)
def test_a_known_family_is_recovered(name):
    base = standard(name)
    true = known_distribution(base, 2, 1.0)
    assert mass(true) == pytest.approx(1, abs=1e-10)
    n = 3000
    distribution = fitted(SpectralDistribution(base, 4), true.sample(n, seeded(1)))
    mean, error = gap(true, distribution)
    # the excess of a maximum-likelihood fit of all p functions is p / 2n; 3 standard errors on
    # top of it: a false alarm in 700
    assert mean <= distribution.spectrum.count / (2 * n) + 3 * error
    assert mean >= -3 * error
    assert mass(distribution) == pytest.approx(1, abs=1e-9)
    assert distribution.log_z_error < 1e-9


@pytest.mark.parametrize("name", BASES)
def test_samples_have_the_moments_of_the_density(name):
    distribution = known_distribution(standard(name), 2, 1.5, seed=3)
    b, w = distribution.base.nodes(40)
    p = distribution.base.volume * w * distribution.log_prob(b).exp()
    phi = distribution.spectrum
    x = distribution.sample(5000, seeded(4))
    values = phi(x)
    error = (values.mean(0) - p @ phi(b)).abs()
    # at most 13 moments and 7 bases, 4 standard errors each: a false alarm in 170
    assert bool((error <= 4 * values.std(0) / math.sqrt(len(x)) + 1e-9).all())
    assert torch.equal(distribution.sample(10, seeded(5)), distribution.sample(10, seeded(5)))
    assert distribution.sample(0, seeded(5)).shape == (0, distribution.base.width)


@pytest.mark.parametrize("name", ["klein", "projective", "mobius"])
def test_distributions_are_functions_on_the_quotient(name):
    distribution = known_distribution(standard(name), 3, 2.0)
    b = distribution.base.sample(200, generator=seeded(6))
    for image in distribution.base.orbit(b)[1:]:
        torch.testing.assert_close(
            distribution.log_prob(image), distribution.log_prob(b), atol=1e-11, rtol=0
        )


def test_peaked_distributions_stay_right():
    # von Mises of concentration 20 on the circle
    t = torch.distributions.VonMises(torch.tensor(1.0).double(), torch.tensor(20.0).double())
    torch.manual_seed(0)
    angle, fresh = t.sample((2000,)), t.sample((4000,))
    circle = lambda a: torch.stack([a.cos(), a.sin()], -1)
    distribution = fitted(SpectralDistribution(standard("circle")), circle(angle))
    assert mass(distribution, 300) == pytest.approx(1, abs=1e-8)
    d = t.log_prob(fresh) - distribution.log_prob(circle(fresh))
    # 3 standard errors over the excess of 10 functions: a false alarm in 700
    assert float(d.mean()) < 10 / 4000 + 3 * float(d.std()) / math.sqrt(4000)
    x = distribution.sample(4000, seeded(7))
    c = torch.special.i1e(torch.tensor(20.0)) / torch.special.i0e(torch.tensor(20.0))
    # as far from the truth as 2000 points tell, 4 standard errors
    aligned = x @ circle(torch.tensor(1.0).double())
    assert abs(float(aligned.mean() - c)) < 4 * float(aligned.std()) / math.sqrt(1300)


def test_peaked_distributions_on_the_sphere_stay_right():
    import topogen as tg

    true = tg.VonMisesFisher(torch.tensor([0.0, 0.6, 0.8]).double(), 20.0)
    x, fresh = true.sample((2000,), seeded(1)), true.sample((4000,), seeded(2))
    distribution = fitted(SpectralDistribution(standard("sphere"), 9), x)
    assert mass(distribution, 60) == pytest.approx(1, abs=1e-6)
    d = true.log_prob(fresh) - distribution.log_prob(fresh)
    # a false alarm in 700
    assert float(d.mean()) < 0.01 + 3 * float(d.std()) / math.sqrt(4000)


def image_of(known, base, bandwidth, formula):
    M = ImageManifold(known.decoder(base, bandwidth, formula))
    M.anchor(M.base.sample(10, generator=seeded()))
    M.fitted = True
    M.volume, M.volume_error = M.measure_volume()
    return M


SETS = {
    "ellipse": ("circle", 1, lambda k: lambda b: b * torch.tensor([2.0, 1.0]).double()),
    "ring torus": ("torus", 2, lambda k: k.ring),
    "klein": ("klein", 4, lambda k: k.klein),
    "ellipsoid": ("sphere", 1, lambda k: lambda b: b * torch.tensor([1.0, 1.0, 2.0]).double()),
}
AREAS = {
    "ellipse": 9.688448220547675,
    "ring torus": 4 * math.pi**2 * 2 * 0.7,
    "klein": 55.70403617296361,
    "ellipsoid": 2 * math.pi * (1 + 2 / (math.sqrt(3) / 2) * math.asin(math.sqrt(3) / 2)),
}


@pytest.mark.parametrize("name", SETS)
def test_area_of_a_known_image(known, name):
    base, bandwidth, formula = SETS[name]
    M = image_of(known, base, bandwidth, formula(known))
    assert M.volume == pytest.approx(AREAS[name], rel=1e-7)
    assert M.volume_error < 1e-6 * M.volume


def test_uniform_angles_on_a_ring_torus(known):
    """The volume factor is r (R + r cos v), so the entropy is log(4 pi^2) plus its mean log."""
    M = image_of(known, "torus", 2, known.ring)
    b, w = M.base.nodes(30)
    ld = M.log_volume(b)
    torch.testing.assert_close(ld, (0.7 * (2 + 0.7 * b[:, 2])).log(), atol=1e-13, rtol=0)
    distribution = SpectralDistribution(M.base, 1)
    distribution.normalise()
    distribution.fitted = True
    log_p = ImageDistribution(M, distribution).log_prob(M.decode(b))
    assert -float(w @ log_p) == pytest.approx(3.980090344387107, abs=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_uniform_on_m_for_uniform_data_whatever_the_coordinates(known, name):
    base, bandwidth, formula = SETS[name]
    M = image_of(known, base, bandwidth, formula(known))
    distribution = SpectralDistribution(M.base, 4, log_r=M.log_volume)
    b = M.encode(M.sample_uniform(2500, generator=seeded(8))).b
    fitted(distribution, b)
    x = M.sample_uniform(2000, generator=seeded(9))
    value = ImageDistribution(M, distribution).log_prob(x)
    # the evidence takes away almost all of the functions
    assert float((value + math.log(M.volume)).abs().max()) < 0.25
    assert abs(float((value + math.log(M.volume)).mean())) < 0.01
    assert mass(distribution) == pytest.approx(1, abs=1e-6)


def test_uniform_samples_of_m_are_uniform(known):
    # narrow peaks of the volume factor between the nodes
    star = known.decoder(
        "circle",
        24,
        known.curve(
            lambda t: t.cos() * (1 + 0.2 * (23 * t).cos()),
            lambda t: t.sin() * (1 + 0.2 * (23 * t).cos()),
        ),
    )
    M = ImageManifold(star)
    M.anchor(M.base.sample(10, generator=seeded()))
    M.fitted = True
    volume, _ = M.measure_volume(100)
    x = M.sample_uniform(20_000, generator=seeded(1))
    # E[1/r] = 2 pi / |M| under the uniform distribution; 4 standard errors, a false alarm in 15
    # 000
    b = M.encode(x).b
    inverse = (-M.log_volume(b)).exp()
    error = float(inverse.std()) / math.sqrt(len(x))
    assert abs(float(inverse.mean()) - 2 * math.pi / volume) < 4 * error


def test_no_spectral_distribution_on_a_line():
    with pytest.raises(TrainingError, match="expected a base of finite volume"):
        SpectralDistribution(standard("euclidean"))
