"""Kernel mixtures on spheres, their weights, and flows that are mixed with kernels."""

import math

import pytest
import torch

import topogen as tg
from topogen.errors import UnsupportedError
from topogen.models.matching.kernel_density import (
    CONCENTRATIONS,
    KernelMixture,
    joined,
    logs_left_out,
    stacked,
)

NETWORK = {"width": 32, "depth": 2, "features": 4, "finest": 2.0}
SMALL = {**NETWORK, "options": tg.MatchingOptions(steps=300, batch=256)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def only(k):
    """All weight on one concentration."""
    w = torch.zeros(len(CONCENTRATIONS), dtype=torch.float64)
    w[k] = 1.0
    return w


@pytest.mark.parametrize("make", [lambda: tg.Circle(2.0), tg.Sphere, lambda: tg.Sphere(3, 0.5)])
def test_one_centre_is_a_von_mises_fisher_distribution(make):
    M = make()
    y, x = M.sample_uniform(1, seeded(1)), M.sample_uniform(50, seeded(2))
    for k in (0, 2, 5):
        one = tg.VonMisesFisher(y[0], CONCENTRATIONS[k], validate_args=False)
        expected = one.log_prob(x / M.scale) - M.dim * math.log(M.scale)
        found = KernelMixture(M, y, only(k), validate_args=False).log_prob(x)
        # e^-745 is 0
        seen = expected > -700
        assert bool(seen.any())
        torch.testing.assert_close(found[seen], expected[seen], atol=1e-9, rtol=1e-9)
        assert bool((found[~seen] < -690).all())


def test_the_mean_of_kernels_by_hand():
    """At a narrow concentration, where the powers of e run out of digits, as at a wide one."""
    M = tg.Sphere()
    y = M.sample_uniform(7, seeded(1))
    x = torch.cat([M.sample_uniform(20, seeded(2)), y])
    for k in (1, 10):
        kernels = [tg.VonMisesFisher(c, CONCENTRATIONS[k], validate_args=False) for c in y]
        expected = tg.Mixture([1.0] * 7, kernels, validate_args=False).log_prob(x)
        found = KernelMixture(M, y, only(k), validate_args=False).log_prob(x)
        seen = expected > -700
        assert bool(seen[20:].all())
        torch.testing.assert_close(found[seen], expected[seen], atol=1e-6, rtol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tg.Circle(2.0),
        pytest.param(tg.Sphere, marks=pytest.mark.slow),
        pytest.param(lambda: tg.Sphere(3, 0.5), marks=pytest.mark.slow),
    ],
)
def test_obeys_the_laws_of_a_distribution(make):
    M = make()
    w = torch.zeros(len(CONCENTRATIONS), dtype=torch.float64)
    w[:4] = torch.tensor([0.2, 0.3, 0.4, 0.1]).double()
    y = M.sample_uniform(5, seeded(3))
    distribution = KernelMixture(M, y, w, validate_args=False)
    tg.testing.check_distribution(distribution, seeded(), n=2000)


def test_a_kernel_about_the_point_itself_does_not_count():
    M = tg.Sphere()
    y = M.sample_uniform(40, seeded())
    logs = logs_left_out(M, y)
    for i in (0, 39):
        rest = torch.cat([y[:i], y[i + 1 :]])
        for k in (0, 1, 4):
            alone = KernelMixture(M, rest, only(k), validate_args=False).log_prob(y[i : i + 1])
            torch.testing.assert_close(logs[i, k], alone[0], atol=1e-9, rtol=1e-9)


def test_weights_find_the_distribution_the_rows_are_from():
    """Rows of 0.7 p + 0.3 q; a third distribution that is nowhere gets its prior and no more."""
    M = tg.Sphere()
    distributions = [
        tg.VonMisesFisher([0.0, 0.0, 1.0], 30.0, validate_args=False),
        tg.Uniform(M),
        tg.VonMisesFisher([0.0, 0.0, -1.0], 1e4, validate_args=False),
    ]
    mixture = tg.Mixture([0.7, 0.3], [distributions[0], tg.VonMisesFisher([0.0, 0.0, 1.0], 0.0)])
    x = mixture.sample((4000,), seeded())
    logs = torch.stack([distribution.log_prob(x) for distribution in distributions], -1)
    w = stacked(logs)
    assert float(w.sum()) == pytest.approx(1)
    # the standard error is .008
    assert float(w[0]) == pytest.approx(0.7, abs=0.03)
    assert 0 < float(w[2]) < 1e-3
    # the share of the first distribution has no prior; a strong one fixes the shape of the rest
    v = joined(logs[:, 0], logs[:, 1:], torch.tensor([1e6, 1e6]).double())
    assert float(v[1]) == pytest.approx(float(v[2]), rel=1e-2)
    v = joined(logs[:, 0], logs[:, 1:], torch.tensor([1.0, 1.0]).double())
    assert float(v[0]) == pytest.approx(float(w[0]), abs=2e-3)


@pytest.mark.slow
def test_kernels_see_what_a_small_flow_cannot(tmp_path):
    """A distribution on 40 spots: the mixture is much better than its flow, stays so on a file."""
    spots = tg.Sphere().sample_uniform(40, seeded(1))
    distributions = [tg.VonMisesFisher(c, 3000.0, validate_args=False) for c in spots]
    truth = tg.Mixture([1.0] * 40, distributions, validate_args=False)
    x, fresh = truth.sample((2000,), seeded(2)), truth.sample((500,), seeded(3))
    model = tg.FlowMatching(tg.Sphere(), kernels=True, **SMALL)
    tg.fit(model, x, seed=0)
    distribution = model()
    assert isinstance(distribution, tg.Mixture)
    flow, kernels = (float(c.log_prob(fresh).mean()) for c in distribution.components)
    value = distribution.log_prob(fresh)
    assert float(value.mean()) > max(flow + 1, kernels - 0.01)
    assert float((truth.log_prob(fresh) - value).mean()) < 0.3
    assert model.weights.shape == (1 + len(CONCENTRATIONS),)
    assert float(model.weights.sum()) == pytest.approx(1)
    assert float(distribution.weights[0]) == pytest.approx(float(model.weights[0]))
    tg.save(model, tmp_path / "flow.safetensors")
    assert torch.equal(tg.load(tmp_path / "flow.safetensors")().log_prob(fresh), value)


@pytest.mark.slow
def test_on_a_smooth_distribution_the_flow_has_the_weight():
    truth = tg.VonMisesFisher([0.0, 0.6, 0.8], 6.0, validate_args=False)
    model = tg.FlowMatching(tg.Sphere(), kernels=True, **SMALL)
    tg.fit(model, truth.sample((2000,), seeded()), seed=0)
    assert float(model.weights[0]) > 0.2
    assert float(model.weights[-5:].sum()) < 0.1
    fresh = truth.sample((500,), seeded(1))
    assert float((truth.log_prob(fresh) - model().log_prob(fresh)).mean()) < 0.05


def test_what_is_refused():
    with pytest.raises(UnsupportedError, match="expected a sphere or a circle for kernels"):
        tg.FlowMatching(tg.Torus(), kernels=True)
    with pytest.raises(ValueError, match="held_out > 0 with kernels"):
        tg.FlowMatching(tg.Sphere(), kernels=True, options=tg.MatchingOptions(held_out=0.0))
