"""Injective flows of noisy points that are denser than their noise."""

import math

import pytest
import torch

import topogen as tg
from topogen.models.injective.model_search import Search


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noisy(M, n, noise, seed=0):
    x = M.sample_uniform(n, generator=seeded(seed))
    return x + noise * torch.randn(x.shape, generator=seeded(seed + 1), dtype=x.dtype)


def test_noise_is_found_where_neighbourhoods_are_smaller():
    """12 neighbours of 4000 points span .01 of the circle; sigma is .04."""
    x = noisy(tg.Circle(), 4000, 0.04)
    search = Search(1, x[400:], x[:400], [])
    # half of the points are farther than .674 sigma
    assert search.noise == pytest.approx(0.674 * 0.04, rel=0.1)
    off = (search.projections.norm(dim=-1) - 1).abs()
    assert float(off.square().mean().sqrt()) < 0.015
    # the negative control: errors in neighbourhoods of one size measure that size
    assert search.local_error[0] < 0.3 * search.noise


def test_clean_points_are_their_own_projections():
    x = tg.Torus().sample_uniform(2000, generator=seeded())
    search = Search(2, x[200:], x[:200], [])
    assert search.projections is search.train
    assert search.noise < 1e-2


@pytest.mark.slow
def test_a_dense_noisy_circle_is_learned():
    flow = tg.InjectiveFlow(1, 2, base="circle")
    assert tg.fit(flow, noisy(tg.Circle(), 4000, 0.04), progress=False).status == "converged"
    assert flow.certificate.injectivity.proved
    # E |x| = 1 + sigma^2 / 2 for the radius of the ridge
    assert flow.manifold.volume == pytest.approx(2 * math.pi, rel=5e-3)


@pytest.mark.slow
def test_a_wrong_base_of_noisy_points_is_refused():
    flow = tg.InjectiveFlow(1, 2, base="interval")
    with pytest.warns(UserWarning, match="no embedding"):
        result = tg.fit(flow, noisy(tg.Circle(), 4000, 0.04), progress=False)
    assert result.status != "converged"
    assert any(flow.certificate.extra_loops.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("M", "base"), [(tg.KleinBottle(), "klein"), (tg.ProjectivePlane(), "projective")]
)
def test_dense_noisy_quotients_are_learned(M, base):
    flow = tg.InjectiveFlow(2, M.ambient_dim, base=base)
    x = noisy(M, 10_000, 0.02 * 2 * M.scale)
    assert tg.fit(flow, x, progress=False).status == "converged"
    assert flow.certificate.homology == "agrees"
    assert flow.manifold.volume == pytest.approx(M.volume, rel=0.03)
