"""NormalNoise: distributions on R^D of noisy points are normalised, and find the noise."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import InvalidPoints


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_it_is_normalised_in_the_plane():
    q = tg.NormalNoise(tg.VonMises(0.0, 2.0), 0.1)
    n = 400
    t = torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)
    r = torch.linspace(0.3, 1.7, 701, dtype=torch.float64)
    x = r[:, None, None] * torch.stack([t.cos(), t.sin()], -1)
    mass = (q.log_prob(x).exp() * r[:, None]).sum() * (2 * math.pi / n) * (r[1] - r[0])
    assert float(mass) == pytest.approx(1, abs=1e-5)
    assert (q.measure, q.dim, q.likelihood) == ("lebesgue", 2, "thickened")


@pytest.mark.parametrize(
    "distribution",
    [tg.VonMises(0.0, 2.0), tg.VonMisesFisher([0.0, 0.6, 0.8], 3.0), tg.Uniform(tg.FlatTorus())],
    ids=["R^2", "R^3", "R^4"],
)
@pytest.mark.parametrize("noise", [1e-3, 0.05])
def test_the_noise_of_points_is_found(distribution, noise):
    x = tg.NormalNoise(distribution, noise).sample((4000,), seeded(1))
    q = tg.NormalNoise.of(distribution, x)
    codim = distribution.manifold.ambient_dim - distribution.manifold.dim
    # the estimate has standard error s / sqrt(2 n k); 4 of them, a false alarm in 2600 of 6
    assert abs(q.noise / noise - 1) < 4 / math.sqrt(2 * 4000 * codim)
    # and has nearly the largest likelihood
    best = float(q.log_prob(x).mean())
    for factor in (0.9, 1.1):
        assert best > float(tg.NormalNoise(distribution, factor * q.noise).log_prob(x).mean())


def test_numpy_points_and_what_is_refused():
    distribution = tg.VonMises(0.0, 2.0)
    x = tg.NormalNoise(distribution, 0.02).sample((500,), seeded())
    assert (
        tg.NormalNoise.of(distribution, x.numpy()).noise
        == tg.NormalNoise.of(distribution, x).noise
    )
    with pytest.raises(InvalidPoints, match="expected points with noise"):
        tg.NormalNoise.of(distribution, torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    with pytest.raises(ValueError, match="noise > 0"):
        tg.NormalNoise(distribution, 0.0)
