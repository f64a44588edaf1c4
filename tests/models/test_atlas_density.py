"""AtlasDensity and BumpMixture: exact, normalised, sampled on M, with a stated floor."""

import math

import pytest
import torch

import topogen as tg
from topogen.distributions.bumps import BumpMixture, bump_densities, log_bump_constant
from topogen.errors import NotFittedError

pytestmark = pytest.mark.xdist_group("torus")  # the fits of tests/catalogue.py


def uniform(M, n, seed):
    return M.sample_uniform(n, generator=torch.Generator().manual_seed(seed))


def learn_distribution(points, dim, seed=0):
    distribution = tg.AtlasDensity(tg.ProjectedAtlas(tg.LocalPolynomials(dim, points.shape[1])))
    return distribution, tg.fit(distribution, points, seed=seed)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_bump_integrates_to_one(d):
    """c_d times the surface of the sphere times the radial integral of r^(d-1) (1-r^2)^3."""
    r = torch.linspace(0, 1, 20001, dtype=torch.float64)
    sphere = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    radial = torch.trapezoid(r ** (d - 1) * (1 - r * r) ** 3, r)
    assert math.exp(log_bump_constant(d)) * sphere * float(radial) == pytest.approx(1, abs=1e-6)


def test_bumps_scale_with_their_maps():
    L = torch.tensor([[[2.0, 0.0], [1.0, 4.0]]], dtype=torch.float64)
    centre = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    peak = bump_densities(centre, centre, L)
    assert float(peak) == pytest.approx(8 * math.exp(log_bump_constant(2)))


@pytest.mark.slow
def test_distribution_of_the_torus(torus_distribution):
    model, result, M = torus_distribution
    assert result.status == "converged"
    distribution = model()
    assert (distribution.measure, distribution.dim, distribution.likelihood) == (
        "hausdorff",
        2,
        "exact",
    )
    x = distribution.sample((3000,), generator=torch.Generator().manual_seed(0))
    assert float(model.atlas.manifold.residual(x).max()) < 1e-9
    assert float(M.residual(x).median()) / 2.8 < 1e-4
    fresh = uniform(M, 2000, 1)
    gap = -math.log(M.volume) - distribution.log_prob(fresh)
    assert bool(gap.isfinite().all())
    assert float(gap.mean()) < 0.03  # 2500 points; the bar of .02 is for 8000


@pytest.mark.slow
def test_normalisation_and_volume_identity(torus_distribution):
    model, _, M = torus_distribution
    distribution = model()
    q = model.atlas.quadrature(20)
    assert float(q.weights @ distribution.log_prob(q.points).exp()) == pytest.approx(1, abs=2e-3)
    x = distribution.sample((1000,), generator=torch.Generator().manual_seed(1))
    inverse = (-distribution.log_prob(x)).exp() / M.volume
    error = float(inverse.std()) / math.sqrt(1000)
    assert float(inverse.mean()) == pytest.approx(1, abs=0.01 + 4 * error)


@pytest.mark.slow
def test_a_density_with_modes_and_its_negative_control():
    """Von Mises(2) on the circle: the gap to the truth is small, that of the uniform is not."""
    truth = tg.VonMises(1.0, 2.0)
    points = truth.sample((3000,), generator=torch.Generator().manual_seed(0))
    model, _ = learn_distribution(points, 1)
    fresh = truth.sample((3000,), generator=torch.Generator().manual_seed(1))
    best = truth.log_prob(fresh)
    gap = best - model().log_prob(fresh)
    assert float(gap.mean()) < 0.03
    assert float((best + math.log(2 * math.pi)).mean()) > 0.5


@pytest.mark.slow
def test_floor_is_where_there_are_no_data(torus_distribution):
    model, _, _ = torus_distribution
    assert model.floor == 1e-3
    charts = len(model.atlas)
    assert float(model.weights[-charts:].sum()) == pytest.approx(1e-3, rel=1e-6)
    assert float(model.weights.sum()) == pytest.approx(1)


def test_off_the_manifold_minus_infinity_nan_stays_nan(torus_distribution):
    model, _, _ = torus_distribution
    x = torch.tensor([[9.0, 0, 0], [math.nan, 0, 0], [1.4, 0, 0]], dtype=torch.float64)
    value = model().log_prob(x)
    assert value[0] == -math.inf
    assert bool(value[1].isnan())
    assert bool(value[2].isfinite())


def test_bumps_on_an_exact_atlas():
    """No learning is needed: one bump in one chart of the exact sphere is normalised."""
    M = tg.Sphere()
    atlas = M.atlas()
    L = torch.eye(2, dtype=torch.float64)[None] * 2
    distribution = BumpMixture(
        atlas, torch.tensor([0]), torch.zeros(1, 2, dtype=torch.float64), L, torch.ones(1).double()
    )
    total = atlas.integrate(lambda x: distribution.log_prob(x).exp())
    assert float(total) == pytest.approx(1, abs=1e-4)
    alone = BumpMixture(
        tg.Atlas(list(atlas.charts)),
        distribution.chart,
        distribution.z,
        distribution.L,
        distribution.weights,
    )
    x = distribution.sample((50,), torch.Generator().manual_seed(0))
    torch.testing.assert_close(alone.log_prob(x), distribution.log_prob(x))


@pytest.mark.slow
def test_same_seed_same_distribution():
    x = uniform(tg.Circle(), 200, 0)
    first, _ = learn_distribution(x, 1, seed=3)
    second, _ = learn_distribution(x, 1, seed=3)
    # LAPACK's last digit depends on where in memory its input lies
    torch.testing.assert_close(first.weights, second.weights, rtol=1e-9, atol=1e-15)


def test_state_round_trip(torus_distribution, tmp_path):
    model, _, M = torus_distribution
    tg.save(model, tmp_path / "distribution.safetensors")
    again = tg.load(tmp_path / "distribution.safetensors")
    x = uniform(M, 100, 5)
    torch.testing.assert_close(again().log_prob(x), model().log_prob(x), rtol=0, atol=1e-12)


def test_wrong_use_is_named():
    with pytest.raises(NotFittedError, match="not fitted"):
        tg.AtlasDensity(tg.Circle().atlas())()
